"""Reads the frames of a GIF, APNG, WebP or AVIF animation, scaled down as they come."""

from dataclasses import dataclass

from PIL import ImageFile

from handlers.image.color.convert import Converter, Space
from handlers.image.decoding.source import decoding
from handlers.image.geometry import Size, Target, turned
from handlers.image.rendering.pixels import Picture, shrink, to_eight_bits, upright

MAX_PIXELS = 25_000_000
"""All pixels of all frames of all renditions. Longer ones show one frame.

The worst there is, noise with transparency, takes half a second of CPU for a million, 12 s in all: a tenth of what a
job may take, and within a job's 60 s on a processor that five share. It becomes 42 MB.
"""
MAX_FRAMES = 1000
DEFAULT_DURATION = 100
"""Milliseconds of a frame that names none, or so little that browsers take it for none."""
LONGEST = 10_000_000
"""Milliseconds of one frame, nearly three hours: WebP has 24 bits for them."""
LONGEST_IN_ALL = 2_000_000_000
"""Milliseconds of all frames, 23 days: encoders count them in 31 bits."""
_SHORTEST = 10


@dataclass(frozen=True, slots=True)
class Animation:
    """Upright frames at the size of the largest rendition; milliseconds; how often it plays, 0 for ever."""

    frames: tuple[Picture, ...]
    durations: tuple[int, ...]
    loop: int
    note: str


def is_affordable(frames: int, sizes: tuple[Target, ...]) -> bool:
    """Whether an animation may be kept as one."""
    area = sum(target.size[0] * target.size[1] for target in sizes)
    return frames <= MAX_FRAMES and frames * area <= MAX_PIXELS


def read_animation(image: ImageFile.ImageFile, largest: Size, orientation: int, space: Space) -> Animation:
    """Decodes every frame; all are in one colour space. Raises RejectedError when one is damaged."""
    first = 1 if getattr(image, "default_image", False) else 0  # an APNG's picture for those who do not animate
    loop = plays_of(image)
    colours = Converter(space)
    frames, asked, notes = [], [], set[str]()
    for index in range(first, int(getattr(image, "n_frames", 1))):
        with decoding():
            image.seek(index)
            image.load()
            pixels, leveled = to_eight_bits(image)
        frame, note = colours.convert(shrink(pixels, turned(largest, orientation)))
        frames.append(upright(frame, orientation))
        told = image.info.get("duration", 0)
        duration = round(told) if isinstance(told, int | float) else 0
        asked.append(duration if duration > _SHORTEST else DEFAULT_DURATION)
        notes |= {leveled, note}
    # Each is cut to what WebP can say of a frame, then all to their share of what it can say of the whole.
    cut = [min(duration, LONGEST) for duration in asked]
    durations = [duration * LONGEST_IN_ALL // max(sum(cut), LONGEST_IN_ALL) for duration in cut]
    if durations != asked:
        notes.add(f"shortened: frames that last longer than WebP can say; {sum(durations)} ms remain")
    return Animation(tuple(frames), tuple(durations), loop, " ".join(sorted(notes)).strip())


def plays_of(image: ImageFile.ImageFile) -> int:
    """How often it plays, 0 for ever. GIF counts repetitions after the first play, and without a count plays once."""
    loop = image.info.get("loop")
    if image.format != "GIF":
        return _within(loop, 0)
    return 1 if loop is None else 0 if loop == 0 else _within(loop, 0) + 1


def _within(loop: object, default: int) -> int:
    return min(max(loop, 0), 65_534) if isinstance(loop, int) else default
