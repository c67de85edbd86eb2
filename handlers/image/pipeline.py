"""From a file to its renditions: the pipeline is one literal list of steps."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from PIL import ImageFile

from handlers.image import steps
from handlers.image.decoding import tiff
from handlers.image.decoding.memory import peak_memory
from handlers.image.decoding.source import JPEGS, check_limits, opened
from handlers.image.decoding.structure_limits import check_scans, check_structure
from handlers.image.geometry import targets
from handlers.image.protocol import RenderedJob, RenderJob, Survey
from handlers.image.rendering import placeholder
from handlers.image.rendering.animation import stays_animated
from handlers.image.steps import Rendering
from media.errors import Code, RejectedError

STEPS: tuple[Callable[[Rendering], None], ...] = (
    steps.plan_renditions,
    steps.read_frames,
    steps.decode_reduced,
    steps.decode_heic,
    steps.decode_full,
    steps.convert_colors,
    steps.turn_upright,
    steps.drop_unused_alpha,
    steps.encode_renditions,
    steps.note_omissions,
)
"""The steps of a rendering, in order. Steps on all pixels come after the downscale. One with nothing to do returns."""
_READ_BY_PIECES = frozenset({"image/png", "image/gif", "image/tiff"})
"""Types whose decoders read the file by pieces. The others hold the whole file in memory."""


def survey(job: RenderJob) -> Survey:
    """Estimate the memory that rendering takes, from the header and the number of parts.

    Raises RejectedError when the picture is damaged or over a limit.
    """
    scans = check_structure(Path(job.source), job.content_type)
    with _open_picture(job) as image:
        frames = check_limits(image, job.max_pixels, job.max_total_pixels)
        if image.format in JPEGS:
            check_scans(scans, image.width * image.height)
        held = 0 if job.content_type in _READ_BY_PIECES else Path(job.source).stat().st_size
        sizes = targets(*image.size)
        moving = frames if stays_animated(image, frames, sizes) else 0
        return Survey(held + peak_memory(image, sizes[-1].size, moving=moving, scans=scans))


def render(job: RenderJob, encoders: Executor) -> RenderedJob:
    """Write every rendition of a picture into the job's folder.

    Raises RejectedError for the picture's fault, MemoryError at the limit of address space, OSError when writing fails.
    """
    digest = encoders.submit(_sha256, Path(job.source))
    with _open_picture(job) as image:
        rendering = Rendering(job, image, encoders)
        for step in STEPS:
            step(rendering)
    smallest = rendering.frames[0].convert("RGBA")
    return RenderedJob(
        *rendering.size,
        placeholder=placeholder.thumbhash(smallest),
        dominant_color=placeholder.dominant_color(smallest),
        files=tuple(file.result() for file in reversed(rendering.files)),
        sha256=digest.result(),
        notes=tuple(note for note in rendering.notes if note),
    )


@contextmanager
def _open_picture(job: RenderJob) -> Iterator[ImageFile.ImageFile]:
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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
