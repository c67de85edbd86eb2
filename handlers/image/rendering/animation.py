"""Reads the frames of a GIF, APNG, WebP or AVIF animation, and scales each down as it is decoded."""

from dataclasses import dataclass

from PIL import ImageFile, PngImagePlugin

from handlers.image.color.convert import Converter, Space
from handlers.image.decoding.gif import clear_background
from handlers.image.decoding.source import decoding
from handlers.image.geometry import Size, Target, turned
from handlers.image.rendering.apng import ApngCanvas
from handlers.image.rendering.pixels import Picture, shrink, to_eight_bits, upright, without_unused_alpha

MAX_PIXELS = 25_000_000
"""Pixels of all frames of all renditions. Of a longer animation one frame is shown.

The worst case, noise with transparency, takes half a second of CPU for a million pixels, 12 s in all. That is within a
job's 60 s even on a processor that five share. It becomes 42 MB.
"""
MAX_FRAME_PIXELS = 30_000_000
"""Pixels of a frame; each is held several times over. Of a larger animation the first frame is shown."""
MAX_FRAMES = 1000
"""Frames of an animation that is kept as one."""
DEFAULT_DURATION = 100
"""Milliseconds of a frame without a duration, or with one so short that browsers ignore it."""
MAX_DURATION = 10_000_000
"""Milliseconds of one frame, nearly three hours: WebP has 24 bits for them."""
MAX_TOTAL_DURATION = 2_000_000_000
"""Milliseconds of all frames, 23 days: encoders count them in 31 bits."""
_IGNORED_DURATION = 10
"""Milliseconds that browsers still take for no duration."""


@dataclass(frozen=True, slots=True)
class Animation:
    """Upright frames at the size of the largest rendition, their milliseconds, and the number of plays, 0 for ever."""

    frames: tuple[Picture, ...]
    durations: tuple[int, ...]
    loop: int
    note: str


def stays_animated(image: ImageFile.ImageFile, frames: int, sizes: tuple[Target, ...]) -> bool:
    """Return whether a picture has several frames and all of them are kept."""
    return frames > 1 and image.width * image.height <= MAX_FRAME_PIXELS and is_affordable(frames, sizes)


def is_affordable(frames: int, sizes: tuple[Target, ...]) -> bool:
    """Return whether the renditions of so many frames stay within the limits."""
    area = sum(target.size[0] * target.size[1] for target in sizes)
    return frames <= MAX_FRAMES and frames * area <= MAX_PIXELS


def read_animation(image: ImageFile.ImageFile, largest: Size, orientation: int, space: Space) -> Animation:
    """Decode every frame; all share one color space. Raises RejectedError when one is damaged."""
    first = 1 if getattr(image, "default_image", False) else 0  # an APNG's picture for viewers that do not animate
    loop = count_plays(image)
    converter = Converter(space)
    canvas = ApngCanvas(image) if isinstance(image, PngImagePlugin.PngImageFile) else None
    frames, asked, notes = [], [], set[str]()
    for index in range(first, int(getattr(image, "n_frames", 1))):
        with decoding():
            image.seek(index)
            if canvas:
                pixels, leveled = canvas.draw()
            else:
                image.load()
                clear_background(image)
                pixels, leveled = to_eight_bits(image)
        pixels = without_unused_alpha(pixels)
        frame, note = converter.convert(shrink(pixels, turned(largest, orientation)))
        frames.append(upright(frame, orientation))
        stated = image.info.get("duration", 0)
        duration = round(stated) if isinstance(stated, int | float) else 0
        asked.append(duration if duration > _IGNORED_DURATION else DEFAULT_DURATION)
        notes |= {leveled, note}
    # Each duration is cut to WebP's limit for a frame, then all are scaled to its limit for the whole.
    cut = [min(duration, MAX_DURATION) for duration in asked]
    durations = [duration * MAX_TOTAL_DURATION // max(sum(cut), MAX_TOTAL_DURATION) for duration in cut]
    if durations != asked:
        notes.add(f"shortened: frames that last longer than WebP can say; {sum(durations)} ms remain")
    return Animation(tuple(frames), tuple(durations), loop, " ".join(sorted(notes)).strip())


def count_plays(image: ImageFile.ImageFile) -> int:
    """Return how often an animation plays, 0 for ever.

    GIF counts the repetitions after the first play, and plays once without a count.
    """
    loop = image.info.get("loop")
    if image.format != "GIF":
        return _valid_loop(loop)
    return 1 if loop is None else 0 if loop == 0 else _valid_loop(loop) + 1


def _valid_loop(loop: object) -> int:
    return min(max(loop, 0), 65_534) if isinstance(loop, int) else 0
