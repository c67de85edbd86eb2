"""Large objects are uploaded in parts and read in ranges."""

from pathlib import Path
from typing import NoReturn

import pytest

from media.asset import ObjectVersion
from media.aws import s3_transfer
from tests.integration.transcode.engine_harness import Harness

MIB = 1024 * 1024


@pytest.mark.parametrize("size", [0, 100, 5 * MIB, 11 * MIB + 7])
async def test_file_of_any_size_is_uploaded(
    harness: Harness, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_transfer, "PART", 5 * MIB)
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    (tmp_path / "file").write_bytes(data)
    await harness.finalizer.transfer.upload(harness.bucket, "large", tmp_path / "file", "video/mp4")
    found = await harness.finalizer.storage.head(ObjectVersion(harness.bucket, "large"))
    assert found
    assert (found.size, found.content_type) == (size, "video/mp4")
    assert await harness.finalizer.storage.read(found.version, limit=size) == data


async def test_failed_upload_leaves_no_parts(harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class BadDisk(type(tmp_path)):  # type: ignore[misc] # the platform's own kind of path
        def open(self, *_mode: object) -> NoReturn:
            raise OSError("the disk does not answer")

    monkeypatch.setattr(s3_transfer, "PART", 5 * MIB)
    (tmp_path / "file").write_bytes(bytes(6 * MIB))
    with pytest.raises(OSError, match="the disk"):
        await harness.finalizer.transfer.upload(harness.bucket, "large", BadDisk(tmp_path / "file"), "video/mp4")
    assert await harness.finalizer.storage.head(ObjectVersion(harness.bucket, "large")) is None
    assert not (await harness.s3.list_multipart_uploads(Bucket=harness.bucket)).get("Uploads")
