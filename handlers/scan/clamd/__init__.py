"""The clamd client: protocol, pool and health of the scanners."""
