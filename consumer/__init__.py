"""The daemon: takes messages from SQS, has them handled, and settles each exactly as its outcome says."""
