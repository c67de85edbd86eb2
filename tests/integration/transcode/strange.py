"""Sources that nobody means to upload, and somebody does: each with what must become of it."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from media.errors import Code
from tests.integration.transcode.cases import AAC, H264
from tests.integration.transcode.test_odd_sources import ffmpeg

type Make = Callable[[Path], None]

PICTURE = "testsrc2=s=320x180:r=25:d=3"
SINE = "sine=d=3:r=48000"
MJPEG = ("-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p")


@dataclass(frozen=True)
class Strange:
    """`code` is None for what becomes ready."""

    name: str
    suffix: str
    make: Make
    code: Code | None = None
    everyday: bool = False

    def __str__(self) -> str:
        return self.name


def coded(*options: str, picture: str = PICTURE, sound: str = SINE) -> Make:
    """A picture and a sound by ffmpeg's generators, either of which may be "", with `options` for the output."""
    inputs = [word for source in (picture, sound) if source for word in ("-f", "lavfi", "-i", source)]
    return lambda path: ffmpeg(*inputs, *options, path)


def changed(make: Make, change: Callable[[bytes], bytes]) -> Make:
    """What `make` makes, with its bytes changed."""

    def both(path: Path) -> None:
        make(path)
        path.write_bytes(change(path.read_bytes()))

    return both


def joined(*makes: Make) -> Make:
    """Transport streams one after the other."""

    def all_of_them(path: Path) -> None:
        whole = b""
        for make in makes:
            make(path)
            whole += path.read_bytes()
        path.write_bytes(whole)

    return all_of_them


def with_files(make: Callable[[Path, Path], None], content: bytes) -> Make:
    """`make` is told of a file beside the one that it makes."""

    def beside(path: Path) -> None:
        other = path.with_name("beside.bin")
        other.write_bytes(content)
        make(path, other)

    return beside


def without_middle(data: bytes) -> bytes:
    """A third of the packets of a transport stream is lost."""
    third = len(data) // 188 // 3 * 188
    return data[:third] + data[2 * third :]


def timeless(data: bytes) -> bytes:
    """Every sample of an MP4 lasts for nothing, and so do its tracks."""
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
    """The sound of an MP4 has a track and nothing in it: its tables are called something that nobody reads."""
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
    ffmpeg(*inputs, *H264, *AAC, *font, path)


def covered(path: Path, other: Path) -> None:
    """Sound with a cover, and no film."""
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x64:r=1:d=1", "-frames:v", "1", "-f", "image2pipe", "-c:v", "png", other)
    maps = ["-map", "0:a", "-map", "1:v", "-c:v", "copy", "-disposition:v", "attached_pic"]
    ffmpeg("-f", "lavfi", "-i", SINE, "-f", "image2pipe", "-c:v", "png", "-i", other, *maps, "-c:a", "aac", path)


def coded_data(path: Path, other: Path) -> None:
    """A track of data beside picture and sound."""
    data = ["-f", "data", "-i", str(other), "-map", "0", "-map", "1", "-map", "2", "-c:d", "copy"]
    ffmpeg("-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", SINE, *data, *H264, *AAC, path)


def turning(degrees: int) -> tuple[str, ...]:
    return (*H264, *AAC, "-bsf:v", f"h264_metadata=display_orientation=insert:rotate={degrees}")


GAP = f"{PICTURE},setpts='PTS+gte(T,1.5)*20/TB'"
PCM = ("-c:a", "pcm_s16le")
STRANGE = [
    Strange("no-time-at-all", "mp4", changed(coded(*H264, *AAC, "-bf", "0"), timeless), Code.CORRUPT),
    Strange("negative-times", "mkv", coded(*H264, *AAC, "-output_ts_offset", "-1", "-avoid_negative_ts", "0")),
    Strange("negative-times-mp4", "mp4", coded(*H264, *AAC, "-output_ts_offset", "-1", "-avoid_negative_ts", "0")),
    Strange("far-times", "ts", coded(*H264, *AAC, "-output_ts_offset", "90000")),
    Strange("a-gap", "mkv", coded("-fps_mode", "passthrough", *H264, *AAC, picture=GAP, sound="")),
    Strange("back-in-time", "ts", joined(coded(*H264, *AAC), coded(*H264, *AAC, "-output_ts_offset", "1"))),
    Strange("far-times-mkv", "mkv", coded(*H264, *AAC, "-output_ts_offset", "3600")),
    Strange("one-frame", "mp4", coded(*H264, "-frames:v", "1", sound="")),
    Strange("one-frame-and-sound", "mp4", coded(*H264, *AAC, "-frames:v", "1"), everyday=True),
    Strange(
        "one-pixel", "avi", coded(*MJPEG, picture=f"{PICTURE},format=yuv444p,crop=1:1", sound=""), Code.UNSUPPORTED
    ),
    Strange("a-line", "avi", coded(*MJPEG, picture="testsrc2=s=8000x16:r=25:d=0.2", sound=""), Code.UNSUPPORTED),
    Strange("a-band", "avi", coded(*MJPEG, picture="testsrc2=s=8000x96:r=25:d=0.5", sound="")),
    Strange("turns-in-the-middle", "ts", joined(coded(*turning(0)), coded(*turning(90), "-output_ts_offset", "3"))),
    Strange("tracks-by-the-hundred", "mp4", many_tracks(120, 380)),
    Strange("a-cover-alone", "m4a", with_files(covered, b""), Code.NO_VIDEO, everyday=True),
    Strange("a-track-of-data", "ts", with_files(coded_data, b"\0KLV data" * 99)),
    Strange("a-track-of-nothing", "mp4", changed(coded(*H264, *AAC), without_samples), everyday=True),
    Strange("one-fps", "mp4", coded(*H264, *AAC, picture="testsrc2=s=320x180:r=1:d=8")),
    Strange("240-fps", "mp4", coded(*H264, *AAC, picture="testsrc2=s=320x180:r=240:d=1")),
    Strange("a-thousand-fps", "mkv", coded(*MJPEG, *PCM, picture="testsrc2=s=320x180:r=1000:d=1")),
    Strange("interlaced", "ts", coded("-flags", "+ildct+ilme", "-c:v", "mpeg2video", "-c:a", "mp2")),
    Strange("4-4-4", "mkv", coded("-c:v", "libx264", "-pix_fmt", "yuv444p", "-c:a", "flac")),
    Strange("12-bit", "mp4", coded("-c:v", "libx265", "-x265-params", "log-level=error", "-pix_fmt", "yuv420p12le")),
    Strange("prores-4444", "mov", coded("-c:v", "prores_ks", "-profile:v", "4", "-pix_fmt", "yuva444p10le", *PCM)),
    Strange("alpha", "webm", coded("-c:v", "libvpx-vp9", "-deadline", "realtime", "-pix_fmt", "yuva420p")),
    Strange("palette", "mov", coded("-c:v", "qtrle", "-pix_fmt", "rgb24", *PCM)),
    Strange("grey", "mkv", coded("-c:v", "libx264", "-pix_fmt", "gray", "-c:a", "libopus")),
    Strange("attachments", "mkv", with_files(attached, b"no font at all")),
    Strange("lost-packets", "ts", changed(coded(*H264, *AAC, "-g", "10"), without_middle), everyday=True),
    Strange("no-key-frames", "mp4", coded(*H264, "-x264-params", "intra-refresh=1:keyint=999", *AAC)),
    Strange("seven-point-one", "mkv", coded(*H264, "-af", "pan=7.1|c0=c0|c5=c0", "-c:a", "pcm_s16le")),
    Strange("slow-sound", "mp4", coded(*H264, *AAC, "-ar", "8000")),
    Strange("stretched", "mp4", coded(*H264, picture=f"{PICTURE},setsar=9/1", sound="")),
    Strange("sound-alone", "wav", coded(picture=""), Code.NO_VIDEO),
    Strange("trailing-garbage", "mp4", changed(coded(*H264, *AAC), lambda data: data + b"\xff" * 5000)),
    Strange("leading-garbage", "mp4", changed(coded(*H264, *AAC), lambda data: b"\0" * 5000 + data), Code.UNSUPPORTED),
]
