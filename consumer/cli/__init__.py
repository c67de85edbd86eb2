"""The operator's command, `python -m consumer.cli`."""
