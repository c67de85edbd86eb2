"""Dead letters: read, looked through and moved back, for the operator's command line and for the API."""
