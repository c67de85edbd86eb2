"""Authentication, signatures and rate limits."""
