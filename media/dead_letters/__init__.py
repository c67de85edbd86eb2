"""Read, group, move back and delete dead letters, for the operator's command and for the API."""
