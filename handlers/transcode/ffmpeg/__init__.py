"""The engine that runs ffmpeg on this machine."""
