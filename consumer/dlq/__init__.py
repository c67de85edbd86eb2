"""The operator's hands on the dead-letter queues: look, move back, throw away."""
