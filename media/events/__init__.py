"""What other services are told of an asset: the event's shape, and the bus that takes it."""
