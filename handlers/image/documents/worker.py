"""The code that child processes run: PDFium draws one page, and the picture's encoders write its files."""

import math
from collections.abc import Callable
from pathlib import Path

import pypdfium2
from PIL import Image
from pypdfium2 import raw

from handlers.image.documents.protocol import PageJob, RenderedPage, encode_reply
from handlers.image.geometry import PAGE_WIDTH, PREVIEW_WIDTH, page_size, targets
from handlers.image.protocol import MadeFile
from handlers.image.rendering import placeholder
from handlers.image.rendering.pixels import shrink
from handlers.image.rendering.webp import QUICK, write_still
from media.errors import Code, RejectedError

WHITE = (255, 255, 255, 255)
_DRAWN = raw.FPDF_ANNOT | raw.FPDF_REVERSE_BYTE_ORDER


def build() -> Callable[[str], str]:
    """Prepare the libraries and return the worker. The sandbox calls this once per child."""
    Image.init()
    return work


def work(line: str) -> str:
    """Do one job. A document's faults become replies; other errors are the sandbox's to report."""
    try:
        return encode_reply(render(PageJob.decode(line)))
    except RejectedError as error:
        return encode_reply(error)
    except pypdfium2.PdfiumError as error:
        return encode_reply(RejectedError(Code.CORRUPT, str(error)))


def render(job: PageJob) -> RenderedPage:
    """Write the files of one page into the job's folder. Raises RejectedError and PdfiumError."""
    with pypdfium2.PdfDocument(job.source) as document:
        document.init_forms()
        pixels = draw_page(document, job.number - 1, PAGE_WIDTH if job.as_page else PREVIEW_WIDTH)
    folder, files = Path(job.out_dir), list[MadeFile]()
    if job.as_page:
        files.append(write_still(pixels, f"page-{job.number}", folder, QUICK))
    if job.as_preview:
        width = min(PREVIEW_WIDTH, pixels.width)
        for target in reversed(targets(width, max(1, round(pixels.height * width / pixels.width)))):
            pixels = pixels if pixels.size == target.size else shrink(pixels, target.size)
            files.append(write_still(pixels, target.name, folder, QUICK))
    return RenderedPage(
        files=tuple(reversed(files)),
        placeholder=placeholder.thumbhash(pixels),
        dominant_color=placeholder.dominant_color(pixels),
    )


def draw_page(document: pypdfium2.PdfDocument, index: int, width: int) -> Image.Image:
    """Draw a page upright on white, `width` pixels wide at most, with annotations and the content of forms."""
    page = document[index]
    across, down = page.get_size()
    if not all(math.isfinite(side) and side > 0 for side in (across, down)):
        raise RejectedError(Code.CORRUPT, f"a page of {across:g} x {down:g} points")
    size = page_size(across, down, width)
    bitmap = pypdfium2.PdfBitmap.new_native(*size, raw.FPDFBitmap_BGRx, rev_byteorder=True)
    bitmap.fill_rect(WHITE, 0, 0, *size)
    area = (0, 0, *size, 0)
    raw.FPDF_RenderPageBitmap(bitmap, page, *area, _DRAWN)
    if document.formenv:
        raw.FPDF_FFLDraw(document.formenv, bitmap, page, *area, _DRAWN)
    pixels: Image.Image = bitmap.to_pil().convert("RGB")
    bitmap.close()
    page.close()
    return pixels
