"""A MediaConvert-compatible endpoint: same API, same events, ffmpeg inside. It stands in for AWS on a laptop."""
