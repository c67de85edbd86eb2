"""Domain types and adapters that the consumer and the API share. It imports neither of them."""
