"""A presentation that conforms, made once, and copies of it for tests that break them."""

import shutil
from pathlib import Path

import pytest

from tests.unit.handlers.transcode.hls_check.presentation import SIZES, encode, write_master


@pytest.fixture(scope="session")
def conforming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two aligned variants of 14 s by ffmpeg, and a master playlist with measured numbers."""
    folder = tmp_path_factory.mktemp("hls")
    for name, size in SIZES.items():
        encode(folder, name, size)
    write_master(folder)
    return folder


@pytest.fixture
def hls(conforming: Path, tmp_path: Path) -> Path:
    return shutil.copytree(conforming, tmp_path / "hls")
