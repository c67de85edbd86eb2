"""Objects that an emulator finds when it starts: a recording of 2.5 GB that takes no room, and settings.

The recording is an MP4 with free space at its end, which is a hole of the file.
"""

import json
from pathlib import Path

from deploy.local.emulator import ACCOUNT

SIZE = 2_500_000_000
VERSION = "the-only-one"


def store_recording(emulator: Path, bucket: str, key: str, clip: Path) -> None:
    """Write the recording where an emulator that starts in this folder finds it, as if it had been uploaded.

    An upload would pass 2.5 GB of zeros through the emulator, and through its memory.
    """
    path = emulator / "s3" / ACCOUNT / bucket / key
    path.parent.mkdir(parents=True)
    content = clip.read_bytes()
    with path.open("wb") as file:
        # A box whose length stands in 64 bits, as it does in long recordings.
        file.write(content + (1).to_bytes(4) + b"free" + (SIZE - len(content)).to_bytes(8))
        file.truncate(SIZE)
    _describe(path, key, SIZE, "video/mp4")


def store_settings(emulator: Path, bucket: str, key: str, lines: str) -> None:
    """Write a file of settings where an emulator that starts in this folder finds it."""
    path = emulator / "s3" / ACCOUNT / bucket / key
    path.parent.mkdir(parents=True)
    path.write_text(lines)
    _describe(path, key, len(lines), "text/plain")


def _describe(path: Path, key: str, size: int, content_type: str) -> None:
    record = {"key": key, "size": size, "etag": f'"{"0" * 32}-1"', "version_id": VERSION, "content_type": content_type}
    path.with_name(f"{path.name}.meta.json").write_text(json.dumps(record))
