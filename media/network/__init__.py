"""Listening sockets, proxies of outgoing calls, and the bodies of /readyz and /metrics."""
