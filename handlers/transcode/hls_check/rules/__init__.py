"""The authoring rules. Each is a function that yields findings."""
