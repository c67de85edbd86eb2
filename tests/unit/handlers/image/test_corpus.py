"""Every picture of the corpus ends as its manifest says."""

import csv
import re

import pytest
from PIL import Image, ImageOps

from media.errors import Code, RejectedError
from tests.unit.handlers.image.conftest import Render
from tests.unit.handlers.image.pictures import CORPUS, difference, opened

REASONS = {"bomb": Code.TOO_MANY_PIXELS, "corrupt": Code.CORRUPT, "unsupported": Code.UNSUPPORTED}
NOT_READ_AT_ALL = (".dds", ".j2k")
PLAIN = {"flower.jpg", "pil_sample_rgb.jpg", "frozenpond.mpo", "invalid-exif.jpg", "transparent.webp"}


def cases() -> list[tuple[str, str]]:
    manifest = CORPUS.parent / "MANIFEST.tsv"
    if not manifest.exists():
        return []
    with manifest.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    pictures = [row for row in rows if row["family"] == "images"]
    return [(row["path"].removeprefix("images/"), row["expect"]) for row in pictures]


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of real files is not beside the repository")
@pytest.mark.parametrize(("name", "expect"), cases())
async def test_corpus_picture_ends_as_expected(name: str, expect: str, render: Render) -> None:
    if expect.startswith("reject:"):
        with pytest.raises(RejectedError) as refused:
            await render(CORPUS / name)
        reason = "unsupported" if name.endswith(NOT_READ_AT_ALL) else expect.removeprefix("reject:")
        assert refused.value.code is REASONS[reason]
        return
    size = re.search(r"(\d+)x(\d+)", expect)
    rendered = await render(CORPUS / name)
    assert size is None or (rendered.width, rendered.height) == (int(size[1]), int(size[2]))
    for file in rendered.files:
        image = Image.open(file.path)
        image.load()
        assert (image.format, image.size) == ("WEBP", (file.width, file.height))
        assert not {"exif", "xmp", "icc_profile"} & image.info.keys()
        assert file.bytes == file.path.stat().st_size
    assert rendered.files[-1].width == min(rendered.width, 1920)


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of real files is not beside the repository")
@pytest.mark.parametrize(
    ("kind", "reference", "number"),
    [("Landscape", "Landscape_1.jpg", n) for n in (1, 3, 6, 8)]
    + [("Portrait", "Portrait_2.jpg", n) for n in (2, 4, 5, 7)],
)
async def test_every_orientation_shows_the_same_picture(kind: str, reference: str, number: int, render: Render) -> None:
    rendered = await render(CORPUS / "orientation" / f"{kind}_{number}.jpg")
    with Image.open(CORPUS / "orientation" / reference) as image:
        upright = ImageOps.exif_transpose(image)
    for index in (0, 2):
        assert difference(opened(rendered, index), upright) < 6
        assert difference(opened(rendered, index), upright.transpose(Image.Transpose.ROTATE_180)) > 25


@pytest.mark.skipif(not CORPUS.exists(), reason="the corpus of real files is not beside the repository")
@pytest.mark.parametrize("name", sorted(PLAIN))
async def test_colors_stay_what_they_were(name: str, render: Render) -> None:
    rendered = await render(next(CORPUS.glob(f"*/{name}")))
    with Image.open(next(CORPUS.glob(f"*/{name}"))) as source:
        assert difference(opened(rendered), source) < 6
