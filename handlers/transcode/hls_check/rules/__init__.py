"""The authoring rules, each a function that yields findings."""
