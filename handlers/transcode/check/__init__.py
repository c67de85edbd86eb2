"""Checks any HLS against the authoring rules: `python -m handlers.transcode.check [--json] URL|DIR|FILE`."""
