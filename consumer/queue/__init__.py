"""Drains one queue: poll, buffer, execute, acknowledge. Knows messages and leases, and no asset."""
