"""The steps of a rendering. Each takes the picture on its way and changes it in place."""

from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path

from PIL import ImageFile

from handlers.image.color.convert import Converter
from handlers.image.color.metadata import read_color_space
from handlers.image.decoding.orientation import orientation_of
from handlers.image.decoding.source import JPEGS, check_limits, decode, decode_heif, decoding, reduced_scale
from handlers.image.geometry import Size, Target, targets, turned
from handlers.image.protocol import MadeFile, RenderJob
from handlers.image.rendering import resampling
from handlers.image.rendering.animation import read_animation, stays_animated
from handlers.image.rendering.pixels import Picture, shrink, to_eight_bits, upright, without_unused_alpha
from handlers.image.rendering.webp import effort_for, write_animation, write_still

ENCODED_ALONE = 8_000_000
"""Pixels of a rendition above which no other is encoded at the same time: encoding takes up to 36 bytes of a pixel."""


@dataclass(slots=True)
class Rendering:
    """One picture on its way from an opened file to its renditions.

    `size` is the upright source's, `frame_count` the source's number of frames, `durations` are milliseconds. `frames`
    holds the pixels, one frame for a still: at first of the largest rendition, at last of the smallest.
    """

    job: RenderJob
    image: ImageFile.ImageFile
    encoders: Executor
    size: Size = (0, 0)
    orientation: int = 1
    targets: tuple[Target, ...] = ()
    frame_count: int = 1
    is_animated: bool = False
    frames: tuple[Picture, ...] = ()
    durations: tuple[int, ...] = ()
    loop: int = 0
    files: list[Future[MadeFile]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def source(self) -> Path:
        return Path(self.job.source)

    @property
    def stored_size(self) -> Size:
        """The size of the largest rendition before it is turned upright."""
        return turned(self.targets[-1].size, self.orientation)


def plan_renditions(rendering: Rendering) -> None:
    """Check the limits and choose the renditions, before the pixels are read where the format allows."""
    image, job = rendering.image, rendering.job
    rendering.frame_count = check_limits(image, job.max_pixels, job.max_total_pixels)
    rendering.orientation = orientation_of(image)
    rendering.size = turned(image.size, rendering.orientation)
    rendering.targets = targets(*rendering.size)
    rendering.is_animated = stays_animated(image, rendering.frame_count, rendering.targets)


def read_frames(rendering: Rendering) -> None:
    """Decode, shrink, convert and turn the frames of an animation one by one: all at full size take too much memory."""
    if not rendering.is_animated:
        return
    space = read_color_space(rendering.image, rendering.source)
    animation = read_animation(rendering.image, rendering.targets[-1].size, rendering.orientation, space)
    rendering.frames, rendering.durations, rendering.loop = animation.frames, animation.durations, animation.loop
    rendering.notes.append(animation.note)


def decode_reduced(rendering: Rendering) -> None:
    """Decode and shrink a JPEG in one pass with libvips. Raises RejectedError when its data end early."""
    image, size = rendering.image, rendering.stored_size
    if rendering.is_animated or image.format not in JPEGS:
        return
    quick = resampling.decode_shrunk(rendering.source, image, reduced_scale(image.size, size), size)
    if quick:
        rendering.frames = (quick,)
    else:
        resampling.check_whole(rendering.source, image)


def decode_heic(rendering: Rendering) -> None:
    """Decode and shrink a large HEIC without Pillow, which copies all pixels: phones make 200 megapixels of them."""
    image, size = rendering.image, rendering.stored_size
    if image.format != "HEIF":
        return
    with decoding():
        found = decode_heif(rendering.source)
        if found.size == image.size:
            quick = resampling.resample_rows(found.data, found.mode, size, of=found.size, stride=found.stride)
            rendering.frames = (quick,) if quick else ()


def decode_full(rendering: Rendering) -> None:
    """Decode with Pillow, and shrink to the largest rendition."""
    if rendering.frames:
        return
    image, size = rendering.image, rendering.stored_size
    box = decode(image, size)
    with decoding():
        shrunk = None if image.format in JPEGS else resampling.resample_decoded(image, size)
        if shrunk:
            rendering.frames = (shrunk,)
            return
        pixels, note = to_eight_bits(image)
    rendering.frames = (shrink(pixels, size, box),)
    rendering.notes.append(note)


def convert_colors(rendering: Rendering) -> None:
    """Convert a still to sRGB. Metadata are read after decoding, which may change them and the mode."""
    if rendering.is_animated:
        return
    pixels, note = Converter(read_color_space(rendering.image, rendering.source)).convert(rendering.frames[0])
    rendering.frames = (pixels,)
    rendering.notes.append(note)


def turn_upright(rendering: Rendering) -> None:
    """Turn a still as its orientation asks."""
    if not rendering.is_animated:
        rendering.frames = (upright(rendering.frames[0], rendering.orientation),)


def drop_unused_alpha(rendering: Rendering) -> None:
    """Drop the alpha channel of a still that is opaque everywhere."""
    if not rendering.is_animated:
        rendering.frames = (without_unused_alpha(rendering.frames[0]),)


def encode_renditions(rendering: Rendering) -> None:
    """Encode the renditions, largest first, each shrunk from the one before: so encoding starts at once."""
    folder = Path(rendering.job.out_dir)
    for target in reversed(rendering.targets):
        frames = tuple(frame if frame.size == target.size else shrink(frame, target.size) for frame in rendering.frames)
        rendering.frames = frames
        if rendering.is_animated:
            submitted = rendering.encoders.submit(
                write_animation, frames, rendering.durations, rendering.loop, target.name, folder
            )
        else:
            effort = effort_for(frames[0], largest=target is rendering.targets[-1])
            submitted = rendering.encoders.submit(write_still, frames[0], target.name, folder, effort)
            if frames[0].width * frames[0].height > ENCODED_ALONE:
                submitted.result()
        rendering.files.append(submitted)


def note_omissions(rendering: Rendering) -> None:
    """Note that frames are kept, and pictures or pages that are not."""
    image, frames = rendering.image, rendering.frame_count
    if rendering.is_animated:
        shown = frames - bool(getattr(image, "default_image", False))
        rendering.notes.append(f"animated: {shown} frame{'s' if shown > 1 else ''}")
    elif frames > 1:
        rendering.notes.append(f"first_frame: an animation of {frames} frames is too long to be kept as one")
    if image.format == "MPO" or (image.format == "HEIF" and getattr(image, "n_frames", 1) > 1):
        rendering.notes.append("first_picture: of a file that holds several")
    if image.format == "TIFF" and getattr(image, "is_animated", False):
        rendering.notes.append("first_page: of a file that holds several")
