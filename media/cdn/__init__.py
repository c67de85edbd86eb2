"""The caches of CloudFront, from which deleted files are removed."""
