import signal
from pathlib import Path

import pytest

from handlers.transcode.ffmpeg.errors import REPORT, check_ended, is_damaged, read_damage
from handlers.transcode.ffmpeg.process import CompletedFfmpeg
from media.errors import Code, MediaError, RejectedError, RetryableError


@pytest.mark.parametrize(
    ("status", "stderr", "kind", "code"),
    [
        (0, "[mov] stream 0, offset 0x3a: partial file", RejectedError, Code.CORRUPT),
        (1, "pipe: Invalid data found when processing input", RejectedError, Code.CORRUPT),
        (1, "x264 [error]: malloc of size 9 failed", RejectedError, Code.RESOURCE_LIMIT),
        (1, "av_interleaved_write_frame(): No space left on device", RetryableError, Code.TRANSCODER_ERROR),
        (0, "[tee] Slave muxer #1 failed: No space left on device, continuing", RetryableError, Code.TRANSCODER_ERROR),
        (0, "Invalid data\n[tee] Slave muxer #0 failed: Input/output error", RetryableError, Code.TRANSCODER_ERROR),
        (1, "Unrecognized option 'nonsense'", RetryableError, Code.TRANSCODER_ERROR),
        (-signal.SIGKILL, "", RetryableError, Code.WORKER_CRASHED),
        (128 + signal.SIGKILL, "Killed", RetryableError, Code.WORKER_CRASHED),
        (255, "[mov] stream 0, offset 0x3a: partial file", RetryableError, Code.WORKER_CRASHED),
        (128 + signal.SIGSEGV, "", RejectedError, Code.CORRUPT),
        (-signal.SIGXCPU, "", RejectedError, Code.RESOURCE_LIMIT),
        (-signal.SIGXFSZ, "", RejectedError, Code.RESOURCE_LIMIT),
    ],
)
def test_failures_are_classified(status: int, stderr: str, kind: type[MediaError], code: Code) -> None:
    with pytest.raises(kind) as caught:
        check_ended(CompletedFfmpeg(status, stderr))
    assert caught.value.code is code


def test_damage_that_the_exit_status_hides_is_found_in_the_report(tmp_path: Path) -> None:
    assert read_damage(tmp_path) == 0, "without a report the status decides"
    counts = "packets read (97 bytes); {} frames decoded; {} decode errors; "
    head = "[hls] Opening 'a.ts' for writing\n" * 9000
    lines = [
        f"[in#0]   Input stream #0:{n} (x): 120 {counts.format(*pair)}" for n, pair in enumerate([(80, 40), (9, 1)])
    ]
    (tmp_path / REPORT).write_text(head + "\n".join(lines))
    assert read_damage(tmp_path) == pytest.approx(1 / 3)
    with pytest.raises(RejectedError) as caught:
        check_ended(CompletedFfmpeg(0, ""), damage=read_damage(tmp_path))
    assert caught.value.code is Code.CORRUPT
    check_ended(CompletedFfmpeg(0, ""), damage=0.1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[h264 @ 0x5581] error while decoding MB 5 4, bytestream -7", True),
        ("Error while decoding stream #0:1: Invalid data found when processing input", True),
        ("[matroska,webm @ 0x5581] Invalid track number 99", True),
        ("[matroska,webm @ 0x5581] File ended prematurely", False),
        ("[hevc @ 0x5581] Could not find ref with POC 12", False),
    ],
)
def test_damage_is_told_from_what_ffmpeg_copes_with(line: str, *, expected: bool) -> None:
    assert is_damaged(f"[tee @ 0x55] words\n{line}\n") is expected


def test_stderr_without_a_failure_is_ignored() -> None:
    check_ended(CompletedFfmpeg(0, "[h264] concealing 12 DC errors"))


def test_source_address_is_neither_logged_nor_raised(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RejectedError) as caught:
        check_ended(CompletedFfmpeg(1, "http://127.0.0.1:4711/s3cr3t: Invalid data found when processing input"))
    assert "s3cr3t" not in str(caught.value) + capsys.readouterr().out


@pytest.mark.parametrize("full", [True, False])
def test_full_disk_uses_no_attempt_when_it_was_seen(full: bool) -> None:
    with pytest.raises(RetryableError) as caught:
        check_ended(CompletedFfmpeg(1, "av_interleaved_write_frame(): No space left on device"), full=full)
    assert caught.value.counts_as_attempt is not full
