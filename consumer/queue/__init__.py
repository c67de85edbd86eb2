"""Drains one queue: poll, buffer, execute, acknowledge. Knows messages and leases, but no asset."""
