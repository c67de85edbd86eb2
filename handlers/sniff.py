"""Detection of a file's type from its first bytes. Pure; it ignores names and announced types."""

import re
from collections.abc import Callable

from handlers.sound_frames import find_first_frame

HEAD_BYTES = 4096
"""Bytes of the file's beginning that `sniff` reads."""

_PDF = re.compile(
    rb"(?s:\0[\x01-\x3f].{126})?"  # MacBinary
    rb"(?:(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?+(?>\x1b%-12345X|@PJL[^\r\n]*+|[\s\0])*+%PDF-"
    rb"|[\t\n\f\r\x20-\x7e\x80-\xff]{0,1023}?[\r\n]%PDF-"
    rb"|\s*+(?>%[^\r\n]*+\s++)?\d{1,10} \d{1,5} obj\b)"
)
"""Readers look for `%PDF-` in the first 1,024 bytes (ISO 32000-1, Annex H, note 13), and do without it.
Here it may follow lines of text, such as those of a form's upload, and what printers and old Macs put before it.
A program with a PDF in it is no document."""
DICOM = "application/dicom"
_DICOM_PREAMBLE = 128
_TS_PACKET = 188
_M2TS_PACKET = 192

# The signature at offset 0, longest first where one is the beginning of another.
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),
    (b"MM\x00+", "image/tiff"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
    (b"\xff\x4f\xff\x51", "image/j2c"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"\xff\x0a", "image/jxl"),
    (b"II\xbc\x01", "image/jxr"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"DDS ", "image/vnd-ms.dds"),
    (b"qoif", "image/qoi"),
    (b"\x00\x00\x01\x00", "image/x-icon"),
    (b"%!PS", "application/postscript"),
    (b"\x1aE\xdf\xa3", "video/x-matroska"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"FLV\x01", "video/x-flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c", "video/x-ms-asf"),
    (b"\x00\x00\x01\xba", "video/mpeg"),
    (b"\x00\x00\x01\xb3", "video/mpeg"),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", "application/mxf"),
    (b"#!AMR", "audio/amr"),
    (b"caff", "audio/x-caf"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"\x7fELF", "application/x-elf"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_IFF = {b"AIFF": "audio/aiff", b"AIFC": "audio/aiff"}
_PICTURE = "image/heif"
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"heim": "image/heic",
    b"heis": "image/heic",
    b"hevc": "image/heic",
    b"hevx": "image/heic",
    b"mif1": "image/heif",
    b"mif2": "image/heif",
    b"mif3": "image/heif",
    b"miaf": "image/heif",
    b"msf1": "image/heif",
    b"unif": "image/heif",
    b"geo1": "image/heif",
    b"heif": "image/heif",
    b"avci": "image/heif",
    b"jpeg": "image/heif",
    b"j2ki": "image/heif",
    b"vvic": "image/heif",
    b"evbi": "image/heif",
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"F4A ": "audio/mp4",
    b"crx ": "image/x-canon-cr3",
}
_QUICKTIME_ATOMS = {b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
"""Sizes of the header that follows a bitmap's file header; two letters alone would be a weak sign."""
# Atomic and possessive throughout: no input can make it backtrack.
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?(?><\?xml[^>]*>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[[^\]]*\]\s*)?>|\s)*+<svg[\s>:/]",
    re.IGNORECASE | re.DOTALL,
)


def sniff(head: bytes) -> str | None:
    """Return the MIME type that the first 4 KiB of a file prove; None if they prove none."""
    head = head[:HEAD_BYTES]
    return next((found for detect in _DETECTORS if (found := detect(head))), None)


def _by_magic(head: bytes) -> str | None:
    found = next((mime for magic, mime in _MAGIC if head.startswith(magic)), None)
    if found == "video/x-matroska" and b"webm" in head[:64]:
        return "video/webm"
    if found == "audio/ogg" and (b"\x80theora" in head[:128] or b"OVP80" in head[:128]):
        return "video/ogg"
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head.startswith((b"RF64", b"BW64")) and head[8:12] == b"WAVE":
        return "audio/wav"
    if head.startswith(b"FORM"):
        return _IFF.get(head[8:12])
    return found


def _by_brand(head: bytes) -> str | None:
    box = head[4:8]
    if box in _QUICKTIME_ATOMS:
        return "video/quicktime"
    if box != b"ftyp":
        return None
    # A damaged file has a type, too, so that it ends as corrupt. With a wrong size only the other brands are lost.
    end = min(int.from_bytes(head[:4], "big"), len(head))
    major, compatible = head[8:12], [head[at : at + 4] for at in range(16, end - 3, 4)]
    if major.startswith((b"3gp", b"3g2")):
        return "video/3gpp"
    if major in _BRANDS and _BRANDS[major] != _PICTURE:
        return _BRANDS[major]
    # Other brands name the coding of a picture. `mif3` has one in place of its version.
    pictures = [_BRANDS[b] for b in (head[12:16], *compatible) if _BRANDS.get(b, "").startswith("image/")]
    coding = next((found for found in pictures if found != _PICTURE), "")
    return coding or next(iter(pictures), _BRANDS.get(major, "video/mp4"))


def _by_content(head: bytes) -> str | None:
    if _PDF.match(head):
        return "application/pdf"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    if head[_DICOM_PREAMBLE:].startswith(b"DICM"):
        return DICOM
    return "image/svg+xml" if _SVG.match(head) else None


def _by_packets(head: bytes) -> str | None:
    if _repeats(head, 0, _TS_PACKET) or _repeats(head, 4, _M2TS_PACKET):
        return "video/mp2t"
    # Recorders and damaged disks put zeros before the first frame, which readers skip.
    frames = head.lstrip(b"\0")
    if len(frames) < len(head) and frames.startswith(b"ID3"):
        return "audio/mpeg"
    # What was cut out of a longer recording begins in the middle of a packet or a frame.
    middles = ((start, packet) for packet in (_TS_PACKET, _M2TS_PACKET) for start in range(packet))
    if any(_repeats(frames, start, packet, 6) for start, packet in middles):
        return "video/mp2t"
    head = frames[find_first_frame(frames) :]
    if len(head) < 4 or head[0] != 0xFF:
        return None
    # ADTS or MPEG audio has one header for each frame: 12 bits of sync, version, layer, bit rate, sampling rate.
    if head[1] & 0xF6 == 0xF0:  # layer 0 is ADTS
        return "audio/aac"
    sync = head[1] & 0xE0 == 0xE0 and head[1] & 0x18 != 0x08  # version 1 is reserved
    layer = head[1] & 0x06 in {0x02, 0x04}  # III or II; I looks like the byte order mark of UTF-16 and is out of use
    rates = head[2] >> 4 not in {0x0, 0xF} and head[2] & 0x0C != 0x0C  # reserved values
    return "audio/mpeg" if sync and layer and rates else None


def _repeats(head: bytes, start: int, packet: int, times: int = 3) -> bool:
    """Tell whether so many packets in a row begin with the transport stream's sync byte."""
    return len(head) > start + (times - 1) * packet and all(head[start + n * packet] == 0x47 for n in range(times))


_DETECTORS: tuple[Callable[[bytes], str | None], ...] = (_by_magic, _by_brand, _by_content, _by_packets)
