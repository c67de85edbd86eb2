"""Sources that users upload by mistake, each with its expected result."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from media.errors import Code
from tests.integration.transcode.source_clips import AAC, H264, run_ffmpeg

PROGRAM_MAP = b"\x50\x00"
"""The begin of a section in packets of ffmpeg's program map: PID 0x1000."""
type Make = Callable[[Path], None]

PICTURE = "testsrc2=s=320x180:r=25:d=3"
SINE = "sine=d=3:r=48000"
MJPEG = ("-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p")


@dataclass(frozen=True)
class OddFile:
    """A source. `code` is None if its asset becomes ready."""

    name: str
    suffix: str
    make: Make
    code: Code | None = None
    everyday: bool = False

    def __str__(self) -> str:
        return self.name


def coded(*options: str, picture: str = PICTURE, sound: str = SINE) -> Make:
    """Encode a picture and a sound of ffmpeg's generators, either of which may be "", with `options` for the output."""
    inputs = [word for source in (picture, sound) if source for word in ("-f", "lavfi", "-i", source)]
    return lambda path: run_ffmpeg(*inputs, *options, path)


def changed(make: Make, change: Callable[[bytes], bytes]) -> Make:
    """Change the bytes of the file that `make` makes."""

    def make_and_change(path: Path) -> None:
        make(path)
        path.write_bytes(change(path.read_bytes()))

    return make_and_change


def joined(*makes: Make) -> Make:
    """Join transport streams one after the other."""

    def join(path: Path) -> None:
        whole = b""
        for make in makes:
            make(path)
            whole += path.read_bytes()
        path.write_bytes(whole)

    return join


def with_files(make: Callable[[Path, Path], None], content: bytes) -> Make:
    """Pass a second file of `content` to `make`."""

    def with_second_file(path: Path) -> None:
        other = path.with_name("second.bin")
        other.write_bytes(content)
        make(path, other)

    return with_second_file


def without_middle(data: bytes) -> bytes:
    """Drop the middle third of a transport stream's packets."""
    third = len(data) // 188 // 3 * 188
    return data[:third] + data[2 * third :]


def as_sample_aes(data: bytes) -> bytes:
    """Announce H.264 and AAC as encrypted by SAMPLE-AES in each program map of a transport stream."""
    changed_data = bytearray(data)
    for at in range(0, len(data), 188):
        if data[at + 1 : at + 3] != PROGRAM_MAP:
            continue
        table = at + 5 + data[at + 4]
        end = table + 3 + (int.from_bytes(data[table + 1 : table + 3]) & 0xFFF) - 4
        entry = table + 12 + (int.from_bytes(data[table + 10 : table + 12]) & 0xFFF)
        while entry < end:
            changed_data[entry] = {0x1B: 0xDB, 0x0F: 0xCF}[data[entry]]
            entry += 5 + (int.from_bytes(data[entry + 3 : entry + 5]) & 0xFFF)
        changed_data[end : end + 4] = mpeg_crc(bytes(changed_data[table:end])).to_bytes(4)
    return bytes(changed_data)


def mpeg_crc(data: bytes) -> int:
    """Return the CRC-32 of a section (ISO/IEC 13818-1, annex A)."""
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte << 24
        for _ in range(8):
            found = (found << 1 ^ (0x04C11DB7 if found >> 31 else 0)) & 0xFFFFFFFF
    return found


def without_durations(data: bytes) -> bytes:
    """Set the duration of every sample and track of an MP4 to zero."""
    changed_data = bytearray(data)
    at = -1
    while (at := changed_data.find(b"stts", at + 1)) > 0:
        (count,) = struct.unpack_from(">I", changed_data, at + 8)
        for entry in range(count):
            struct.pack_into(">I", changed_data, at + 16 + 8 * entry, 0)
    for box, offset in ((b"mvhd", 20), (b"tkhd", 24), (b"mdhd", 20), (b"elst", 12)):
        at = -1
        while (at := changed_data.find(box, at + 1)) > 0:
            struct.pack_into(">I", changed_data, at + offset, 0)
    return bytes(changed_data)


def without_samples(data: bytes) -> bytes:
    """Empty the audio track of an MP4 by renaming its tables."""
    begin = data.index(b"soun")
    changed_data = bytearray(data)
    for box in (b"stts", b"stsc", b"stsz", b"stco"):
        at = data.index(box, begin)
        changed_data[at : at + 4] = b"free"
    return bytes(changed_data)


def many_tracks(pictures: int, sounds: int) -> Make:
    maps: Sequence[str] = [*["-map", "0:v"] * pictures, *["-map", "1:a"] * sounds]
    return coded(*maps, "-c:v", "mpeg4", *AAC, picture="testsrc2=s=64x48:r=5:d=1", sound="sine=d=1:r=48000")


def attached(path: Path, other: Path) -> None:
    font = ["-attach", str(other), "-metadata:s:t", "mimetype=application/x-truetype-font"]
    inputs = ["-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", SINE]
    run_ffmpeg(*inputs, *H264, *AAC, *font, path)


def covered(path: Path, other: Path) -> None:
    """Encode audio with a cover, without a video."""
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=s=64x64:r=1:d=1", "-frames:v", "1", "-f", "image2pipe", "-c:v", "png", other
    )
    maps = ["-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v", "attached_pic"]
    run_ffmpeg("-f", "lavfi", "-i", SINE, "-f", "image2pipe", "-c:v", "png", "-i", other, *maps, "-c:a", "aac", path)


def coded_data(path: Path, other: Path) -> None:
    """Encode a track of data with picture and audio."""
    data = ["-f", "data", "-i", str(other), "-map", "0", "-map", "1", "-map", "2", "-c:d", "copy"]
    run_ffmpeg("-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", SINE, *data, *H264, *AAC, path)


def turning(degrees: int) -> tuple[str, ...]:
    return (*H264, *AAC, "-bsf:v", f"h264_metadata=display_orientation=insert:rotate={degrees}")


GAP = f"{PICTURE},setpts='PTS+gte(T,1.5)*20/TB'"
PCM = ("-c:a", "pcm_s16le")
ODD_FILES = [
    OddFile("no-time-at-all", "mp4", changed(coded(*H264, *AAC, "-bf", "0"), without_durations), Code.CORRUPT),
    OddFile("negative-times", "mkv", coded(*H264, *AAC, "-output_ts_offset", "-1", "-avoid_negative_ts", "0")),
    OddFile("negative-times-mp4", "mp4", coded(*H264, *AAC, "-output_ts_offset", "-1", "-avoid_negative_ts", "0")),
    OddFile("far-times", "ts", coded(*H264, *AAC, "-output_ts_offset", "90000")),
    OddFile("a-gap", "mkv", coded("-fps_mode", "passthrough", *H264, *AAC, picture=GAP, sound="")),
    OddFile("back-in-time", "ts", joined(coded(*H264, *AAC), coded(*H264, *AAC, "-output_ts_offset", "1"))),
    OddFile("far-times-mkv", "mkv", coded(*H264, *AAC, "-output_ts_offset", "3600")),
    OddFile("one-frame", "mp4", coded(*H264, "-frames:v", "1", sound="")),
    OddFile("one-frame-and-sound", "mp4", coded(*H264, *AAC, "-frames:v", "1"), everyday=True),
    OddFile(
        "one-pixel", "avi", coded(*MJPEG, picture=f"{PICTURE},format=yuv444p,crop=1:1", sound=""), Code.UNSUPPORTED
    ),
    OddFile("a-line", "avi", coded(*MJPEG, picture="testsrc2=s=8000x16:r=25:d=0.2", sound=""), Code.UNSUPPORTED),
    OddFile("a-band", "avi", coded(*MJPEG, picture="testsrc2=s=8000x96:r=25:d=0.5", sound="")),
    OddFile("turns-in-the-middle", "ts", joined(coded(*turning(0)), coded(*turning(90), "-output_ts_offset", "3"))),
    OddFile("tracks-by-the-hundred", "mp4", many_tracks(120, 380)),
    OddFile("a-cover-alone", "m4a", with_files(covered, b""), Code.NO_VIDEO, everyday=True),
    OddFile("a-track-of-data", "ts", with_files(coded_data, b"\0KLV data" * 99)),
    OddFile("a-track-of-nothing", "mp4", changed(coded(*H264, *AAC), without_samples), everyday=True),
    OddFile("one-fps", "mp4", coded(*H264, *AAC, picture="testsrc2=s=320x180:r=1:d=8")),
    OddFile("240-fps", "mp4", coded(*H264, *AAC, picture="testsrc2=s=320x180:r=240:d=1")),
    OddFile("a-thousand-fps", "mkv", coded(*MJPEG, *PCM, picture="testsrc2=s=320x180:r=1000:d=1")),
    OddFile("interlaced", "ts", coded("-flags", "+ildct+ilme", "-c:v", "mpeg2video", "-c:a", "mp2")),
    OddFile("4-4-4", "mkv", coded("-c:v", "libx264", "-pix_fmt", "yuv444p", "-c:a", "flac")),
    OddFile("12-bit", "mp4", coded("-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p12le")),
    OddFile("prores-4444", "mov", coded("-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuva444p10le", *PCM)),
    OddFile("alpha", "webm", coded("-c:v", "libvpx-vp9", "-deadline", "realtime", "-pix_fmt", "yuva420p")),
    OddFile("palette", "mov", coded("-c:v", "qtrle", "-pix_fmt", "rgb24", *PCM)),
    OddFile("gray", "mkv", coded("-c:v", "libx264", "-pix_fmt", "gray", "-c:a", "libopus")),
    OddFile("attachments", "mkv", with_files(attached, b"no font at all")),
    OddFile("lost-packets", "ts", changed(coded(*H264, *AAC, "-g", "10"), without_middle), everyday=True),
    OddFile("no-key-frames", "mp4", coded(*H264, "-x264-params", "intra-refresh=1:keyint=999", *AAC)),
    OddFile("seven-point-one", "mkv", coded(*H264, "-af", "pan=7.1|c0=c0|c5=c0", "-c:a", "pcm_s16le")),
    OddFile("slow-sound", "mp4", coded(*H264, *AAC, "-ar", "8000")),
    OddFile("stretched", "mp4", coded(*H264, picture=f"{PICTURE},setsar=9/1", sound="")),
    OddFile("sample-aes", "ts", changed(coded(*H264, *AAC), as_sample_aes), Code.ENCRYPTED, everyday=True),
    OddFile("sound-alone", "wav", coded(picture=""), Code.NO_VIDEO),
    OddFile("trailing-garbage", "mp4", changed(coded(*H264, *AAC), lambda data: data + b"\xff" * 5000)),
    OddFile("leading-garbage", "mp4", changed(coded(*H264, *AAC), lambda data: b"\0" * 5000 + data), Code.UNSUPPORTED),
]
