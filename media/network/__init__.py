"""What the network asks of the service: where it listens, and which calls go through a proxy."""
