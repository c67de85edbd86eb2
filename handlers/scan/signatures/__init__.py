"""The signatures of the scanner: mirrored into the bucket, kept on disk, loaded without a restart."""
