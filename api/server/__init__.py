"""The HTTP server around the application: connections, middlewares, draining, logs."""
