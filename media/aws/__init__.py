"""The adapters to AWS: nothing else calls it."""
