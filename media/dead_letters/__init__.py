"""Dead letters, for the operator's command and for the API: read, look through, move back, delete."""
