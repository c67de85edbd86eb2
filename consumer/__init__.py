"""The daemon: receives messages from SQS, handles them, and settles each as its outcome says."""
