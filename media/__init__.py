"""The shared words and adapters of the media service; it knows neither the daemon nor the API."""
