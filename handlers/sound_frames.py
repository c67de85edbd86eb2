"""Reads the headers of ADTS and MP3 frames, of which a file without an index consists. Pure."""

_MP3_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
"""Bit rates of layer III in kbit/s, for MPEG-1 and for MPEG-2 (ISO/IEC 11172-3 and 13818-3)."""
_MP3_SAMPLES = (1152, 576)
"""Samples of a frame, likewise."""
_MP3_HZ = (44_100, 48_000, 32_000)
_MP3_SLOWER = {3: 0, 2: 1, 0: 2}
"""How often the sampling rate of MPEG-1, 2 and 2.5 is halved, by the number of the version."""
IN_A_ROW = 3
"""Frames that prove a format without a header at its beginning."""
LONGEST_FRAME = 2048
"""Bytes in which the first whole frame must begin. MP3 has frames of 1441 bytes at most."""


def find_first_frame(head: bytes) -> int:
    """Return where the first of some frames of ADTS or MP3 in a row begins; 0 when there are none."""
    at = -1
    while (at := head.find(b"\xff", at + 1, LONGEST_FRAME)) >= 0:
        end = at
        for _ in range(IN_A_ROW):
            length = frame_length(head[end : end + 6])
            end += length
            if not length:
                break
        else:
            return at
    return 0


def frame_length(header: bytes) -> int:
    """Return the bytes of a frame of ADTS or MP3 by its header; 0 when it is none."""
    if len(header) < 6 or header[0] != 0xFF:
        return 0
    if header[1] & 0xF6 == 0xF0:
        length = (header[3] & 0x03) << 11 | header[4] << 3 | header[5] >> 5
        return length if length > len(header) else 0
    slower, rate, hz = _MP3_SLOWER.get(header[1] >> 3 & 0x03), header[2] >> 4, header[2] >> 2 & 0x03
    if header[1] & 0xE6 != 0xE2 or slower is None or rate in {0x0, 0xF} or hz == len(_MP3_HZ):
        return 0
    bits = _MP3_RATES[bool(slower)][rate] * 1000 * _MP3_SAMPLES[bool(slower)]
    return bits // (_MP3_HZ[hz] >> slower) // 8 + (header[2] >> 1 & 1)
