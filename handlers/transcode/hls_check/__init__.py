"""A check of any HLS against the authoring rules: `python -m handlers.transcode.hls_check [--json] URL|DIR|FILE`."""
