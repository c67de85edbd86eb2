"""ffmpeg on a disk that is really full: wherever it stops, its output is not taken for whole."""

import shlex
import subprocess
from pathlib import Path

import pytest

from handlers.transcode.ffmpeg.command import arguments
from handlers.transcode.ffmpeg.errors import check_ended
from handlers.transcode.ffmpeg.process import CompletedFfmpeg
from handlers.transcode.planning.ladder import plan
from handlers.transcode.probing.prober import Prober
from media.asset import AssetType
from media.errors import RetryableError
from tests.unit.handlers.transcode.conftest import Clip

OWN_MOUNTS = ("unshare", "--user", "--map-root-user", "--mount")
PAGE = 4096
TIMEOUT = 60


def on_a_disk_of(size: int, argv: list[str], folder: Path) -> CompletedFfmpeg:
    """Run `argv` on a disk of `size` bytes, which is gone afterwards."""
    where = shlex.quote(str(folder))
    script = f"mount -t tmpfs -o size={size} none {where} && cd {where} && exec {shlex.join(argv)}"
    return run([*OWN_MOUNTS, "sh", "-c", script], folder)


def run(argv: list[str], folder: Path) -> CompletedFfmpeg:
    done = subprocess.run(argv, cwd=folder, capture_output=True, timeout=TIMEOUT, check=False, text=True)
    return CompletedFfmpeg(done.returncode, done.stderr)


async def test_output_cut_off_by_a_full_disk_is_retried(prober: Prober, clip: Clip, tmp_path: Path) -> None:
    if on_a_disk_of(PAGE, ["true"], tmp_path).status:
        pytest.skip("no disk of our own may be mounted here")
    film = clip("disk.mp4", "testsrc2=s=160x120:r=25:d=7,noise=alls=30:allf=t", "", "-c:v", "libx264")
    planned = plan(await prober.probe(str(film), asset_type=AssetType.VIDEO), AssetType.VIDEO)
    argv = arguments(planned, program="ffmpeg", source=str(film))
    whole = tmp_path / "whole"
    whole.mkdir()
    check_ended(run(argv, whole))
    pages = sum(-(-path.stat().st_size // PAGE) for path in whole.iterdir())
    for missing in (2, pages // 10, pages // 2):
        with pytest.raises(RetryableError):
            check_ended(on_a_disk_of((pages - missing) * PAGE, argv, tmp_path))
