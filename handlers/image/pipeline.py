"""From a file to its renditions, as one list of steps."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFile

from handlers.image.color.convert import Converter
from handlers.image.color.metadata import read_color_space
from handlers.image.decoding import tiff
from handlers.image.decoding.memory import peak_memory
from handlers.image.decoding.orientation import orientation_of
from handlers.image.decoding.source import (
    JPEGS,
    check_limits,
    decode,
    decoding,
    opened,
    reduced_scale,
)
from handlers.image.decoding.structure_limits import check_scans, check_structure
from handlers.image.geometry import Size, Target, targets, turned
from handlers.image.protocol import MadeFile, RenderedJob, RenderJob, Survey
from handlers.image.rendering import animation, placeholder, resampling
from handlers.image.rendering.pixels import Picture, shrink, to_eight_bits, upright, without_idle_alpha
from handlers.image.rendering.webp import effort_for, write_animation, write_still
from media.errors import Code, RejectedError

MOVING_PIXELS = 30_000_000
"""Of a frame; each is held several times over. Of what is larger the first one is shown."""
_READ_BY_PIECES = frozenset({"image/png", "image/gif", "image/tiff"})
"""The decoders of all others have the whole file in memory."""
ALONE = 8_000_000
"""Pixels of a rendition, a very tall one, while which is encoded no other is: each takes up to 36 bytes of a pixel."""


@dataclass(frozen=True, slots=True)
class RenderPlan:
    """What is to be made of an opened picture, decided before its pixels are read where the format allows."""

    size: Size
    orientation: int
    targets: tuple[Target, ...]
    frames: int
    animated: bool

    @property
    def largest(self) -> Size:
        return self.targets[-1].size


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn: the smallest rendition, files being written, notes."""

    smallest: Picture
    files: tuple[Future[MadeFile], ...]
    notes: tuple[str, ...]


def survey(job: RenderJob) -> Survey:
    """Reads the header, and counts what would take long.

    Raises RejectedError when the picture is damaged or over a limit.
    """
    parts = check_structure(Path(job.source), job.content_type)
    with _picture(job) as image:
        frames = check_limits(image, job.max_pixels, job.max_total_pixels)
        if image.format in JPEGS:
            check_scans(parts, image.width * image.height)
        held = 0 if job.content_type in _READ_BY_PIECES else Path(job.source).stat().st_size
        sizes = targets(*image.size)
        moving = frames if _keeps_moving(image, frames, sizes) else 0
        return Survey(held + peak_memory(image, sizes[-1].size, moving=moving, scans=parts))


def render(job: RenderJob, encoders: Executor) -> RenderedJob:
    """Writes every rendition of a picture into the job's folder.

    Raises RejectedError for the picture's fault, MemoryError at the limit of address space, OSError when writing fails.
    """
    digest = encoders.submit(_sha256, Path(job.source))
    with _picture(job) as image:
        frames = check_limits(image, job.max_pixels, job.max_total_pixels)
        orientation = orientation_of(image)
        size = turned(image.size, orientation)
        sizes = targets(*size)
        plan = RenderPlan(size, orientation, sizes, frames, animated=_keeps_moving(image, frames, sizes))
        draw = _draw_animation if plan.animated else _draw_still
        drawn = draw(image, plan, job, encoders)
    small = drawn.smallest.convert("RGBA")
    return RenderedJob(
        *plan.size,
        placeholder=placeholder.thumbhash(small),
        dominant_color=placeholder.dominant_color(small),
        files=tuple(file.result() for file in reversed(drawn.files)),
        sha256=digest.result(),
        notes=drawn.notes,
    )


@contextmanager
def _picture(job: RenderJob) -> Iterator[ImageFile.ImageFile]:
    path = Path(job.source)
    with ExitStack() as stack:
        try:
            image = stack.enter_context(opened(path, job.content_type, job.max_pixels))
        except RejectedError as error:
            raise (tiff.refusal(path, error) if job.content_type == "image/tiff" else error) from error
        if image.format == "PNG" and image.mode == "P" and image.palette is None:
            raise RejectedError(Code.CORRUPT, "a palette is missing")
        tiff.prepare(image)
        yield image


def _keeps_moving(image: ImageFile.ImageFile, frames: int, sizes: tuple[Target, ...]) -> bool:
    small = image.width * image.height <= MOVING_PIXELS
    return frames > 1 and small and animation.is_affordable(frames, sizes)


def _draw_still(image: ImageFile.ImageFile, plan: RenderPlan, job: RenderJob, encoders: Executor) -> Drawn:
    """Whatever works on many pixels comes after the downscale.

    The renditions are made largest first, each from the one above, so that its encoding starts at once.
    """
    pixels, leveled = _largest(image, turned(plan.largest, plan.orientation), Path(job.source))
    pixels, note = Converter(read_color_space(image, Path(job.source))).convert(pixels)
    pixels = upright(pixels, plan.orientation)
    pixels = without_idle_alpha(pixels)
    files = []
    for target in reversed(plan.targets):
        pixels = pixels if pixels.size == target.size else shrink(pixels, target.size)
        effort = effort_for(pixels, largest=target is plan.targets[-1])
        files.append(encoders.submit(write_still, pixels, target.name, Path(job.out_dir), effort))
        if pixels.width * pixels.height > ALONE:
            files[-1].result()
    return Drawn(pixels, tuple(files), _notes(image, plan, leveled, note))


def _largest(image: ImageFile.ImageFile, size: Size, source: Path) -> tuple[Picture, str]:
    """The picture as it lies in the file, decoded and brought to the size of the largest rendition; and a note."""
    if image.format in JPEGS:
        quick = resampling.decode_shrunk(source, image, reduced_scale(image.size, size), size)
        if quick:
            return quick, ""
        resampling.check_whole(source, image)
    box = decode(image, size)
    with decoding():
        banded = None if image.format in JPEGS else resampling.resample_decoded(image, size)
        if banded:
            return banded, ""
        pixels, note = to_eight_bits(image)
    return shrink(pixels, size, box), note


def _draw_animation(image: ImageFile.ImageFile, plan: RenderPlan, job: RenderJob, encoders: Executor) -> Drawn:
    moving = animation.read_animation(image, plan.largest, plan.orientation, read_color_space(image, Path(job.source)))
    frames, files, folder = moving.frames, [], Path(job.out_dir)
    for target in reversed(plan.targets):
        frames = tuple(frame if frame.size == target.size else shrink(frame, target.size) for frame in frames)
        files.append(encoders.submit(write_animation, frames, moving.durations, moving.loop, target.name, folder))
    return Drawn(frames[0], tuple(files), _notes(image, plan, moving.note))


def _notes(image: ImageFile.ImageFile, plan: RenderPlan, *told: str) -> tuple[str, ...]:
    notes = [note for note in told if note]
    if plan.animated:
        shown = plan.frames - bool(getattr(image, "default_image", False))
        notes.append(f"animated: {shown} frame{'s' if shown > 1 else ''}")
    elif plan.frames > 1:
        notes.append(f"first_frame: an animation of {plan.frames} frames is too long to be kept as one")
    if image.format == "MPO" or (image.format == "HEIF" and getattr(image, "n_frames", 1) > 1):
        notes.append("first_picture: of a file that holds several")
    if image.format == "TIFF" and getattr(image, "is_animated", False):
        notes.append("first_page: of a file that holds several")
    return tuple(notes)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
