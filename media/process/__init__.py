"""What every process sets up for itself: its log, its garbage collector, and its end when its event loop hangs."""
