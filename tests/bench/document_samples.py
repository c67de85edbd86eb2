"""Fifty documents as people send them: letters, articles, tables, scans, photos, charts, forms, slides, stamps."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import pikepdf
from pikepdf import Array, Dictionary, Name, Pdf
from PIL import Image, ImageDraw, ImageFont

VARIATIONS = 5
A4, SLIDE = (595, 842), (960, 540)
WORDS = (
    *("the", "patient", "was", "seen", "on", "ward", "four", "with", "mild", "fever", "and", "a", "rash", "over"),
    *("both", "arms", "blood", "pressure", "remained", "stable", "under", "treatment", "next", "visit", "in", "two"),
    *("weeks", "please", "bring", "all", "earlier", "reports", "dosage", "as", "before", "daily", "evening"),
)


class Page:
    """One page to write on: operators, and the resources that they name. Lengths are points."""

    def __init__(self, seed: int, size: tuple[int, int] = A4) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - the same documents in each run
        self.pdf = pikepdf.new()
        self.size = size
        self.page = self.pdf.add_blank_page(page_size=size)
        self.page.obj.Resources = Dictionary(Font=Dictionary(), XObject=Dictionary(), ExtGState=Dictionary())
        self.operators: list[str] = []

    def write(self, path: Path) -> Path:
        self.page.obj.Contents = self.pdf.make_stream("\n".join(self.operators).encode("latin-1"))
        self.pdf.save(path, deterministic_id=True)
        self.pdf.close()
        return path

    def font(self, name: str) -> str:
        """Name a font: one of the fourteen that each reader has, or `Own`, which is embedded."""
        fonts = self.page.obj.Resources.Font
        if f"/{name}" not in fonts:
            fonts[f"/{name}"] = embedded(self.pdf) if name == "Own" else standard(self.pdf, name)
        return f"/{name}"

    def text(self, words: str, at: tuple[float, float], size: float, font: str = "Own") -> None:
        self.operators.append(f"BT {self.font(font)} {size} Tf {at[0]} {at[1]} Td ({words}) Tj ET")

    def sentence(self, count: int) -> str:
        return " ".join(self.chance.choices(WORDS, k=count)).capitalize()

    def paragraph(self, left: float, top: float, lines: int, *, words: int, size: float, font: str = "Own") -> None:
        for line in range(lines):
            self.text(self.sentence(words), (left, top - 1.35 * size * line), size, font)

    def picture(self, image: Image.Image, box: tuple[float, float, float, float]) -> None:
        """Show a picture as JPEG: left, bottom, width, height."""
        target = io.BytesIO()
        image.save(target, "JPEG", quality=88)
        space = Name.DeviceGray if image.mode == "L" else Name.DeviceRGB
        stream = self.pdf.make_stream(b"")
        stream.write(target.getvalue(), filter=Name.DCTDecode)
        stream.stream_dict.update(
            Dictionary(
                Type=Name.XObject,
                Subtype=Name.Image,
                Width=image.width,
                Height=image.height,
                BitsPerComponent=8,
                ColorSpace=space,
            )
        )
        name = f"/I{len(self.page.obj.Resources.XObject.keys())}"
        self.page.obj.Resources.XObject[name] = stream
        left, bottom, width, height = box
        self.operators.append(f"q {width} 0 0 {height} {left} {bottom} cm {name} Do Q")

    def look(self, operators: str, width: float, height: float) -> pikepdf.Stream:
        """Make the appearance of an annotation."""
        made = self.pdf.make_stream(operators.encode())
        box = Array([0, 0, width, height])
        made.stream_dict.update(Dictionary(Type=Name.XObject, Subtype=Name.Form, BBox=box))
        return made


def standard(pdf: Pdf, name: str) -> pikepdf.Object:
    return pdf.make_indirect(
        Dictionary(Type=Name.Font, Subtype=Name.Type1, BaseFont=Name(f"/{name}"), Encoding=Name.WinAnsiEncoding)
    )


def embedded(pdf: Pdf) -> pikepdf.Object:
    """Embed the font that comes with Pillow."""
    drawn = ImageFont.load_default(1000)
    if not isinstance(drawn, ImageFont.FreeTypeFont):
        raise TypeError("Pillow was built without FreeType")
    file = pdf.make_stream(drawn.font_bytes)
    descriptor = Dictionary(
        Type=Name.FontDescriptor,
        FontName=Name.Own,
        Flags=32,
        FontBBox=Array([-200, -300, 1200, 1000]),
        ItalicAngle=0,
        Ascent=900,
        Descent=-250,
        CapHeight=700,
        StemV=80,
        FontFile2=file,
    )
    return pdf.make_indirect(
        Dictionary(
            Type=Name.Font,
            Subtype=Name.TrueType,
            BaseFont=Name.Own,
            FirstChar=32,
            LastChar=126,
            Widths=Array([round(drawn.getlength(chr(code))) for code in range(32, 127)]),
            Encoding=Name.WinAnsiEncoding,
            FontDescriptor=pdf.make_indirect(descriptor),
        )
    )


def letter(seed: int) -> Page:
    page = Page(seed)
    page.text("General Hospital, Department of Cardiology", (60, 770), 15)
    page.paragraph(60, 700, 30 + seed, words=11, size=10.5)
    return page


def article(seed: int) -> Page:
    page = Page(seed)
    page.text(page.sentence(7), (50, 780), 18, "Helvetica-Bold")
    for left in (50, 310):
        page.paragraph(left, 740, 52, words=7, size=9, font="Times-Roman")
    return page


def table(seed: int) -> Page:
    page = Page(seed)
    for row in range(30):
        top = 760 - 22 * row
        page.operators.append(f"{0.93 if row % 2 else 1} g 50 {top} 495 22 re f 0 g 0.5 w 50 {top} 495 22 re S")
        for column in range(5):
            page.text(f"{page.chance.uniform(0, 300):.2f} mmol", (56 + 99 * column, top + 7), 9)
    return page


def scan(seed: int) -> Page:
    page, sheet = Page(seed), Image.new("L", (1240, 1754), 246)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(26)
    for row in range(38):
        pen.text((120 + seed, 140 + 40 * row), page.sentence(9), fill=40, font=font)
    noise = Image.effect_noise(sheet.size, 18)
    page.picture(Image.blend(sheet, noise, 0.06).rotate(0.4 * seed - 1, fillcolor=240), (0, 0, *A4))
    return page


def photo(seed: int) -> Page:
    page = Page(seed)
    shade = Image.linear_gradient("L").resize((1200, 900)).rotate(30 * seed)
    noise = Image.effect_noise((300, 225), 50).resize((1200, 900))
    page.picture(Image.merge("RGB", (shade, Image.blend(shade, noise, 0.3), noise)), (60, 400, 475, 356))
    page.paragraph(60, 370, 12, words=11, size=10.5)
    return page


def chart(seed: int) -> Page:
    page = Page(seed)
    page.text(page.sentence(5), (60, 780), 16)
    for bar in range(12):
        height, shade = page.chance.randrange(40, 300), bar / 14
        page.operators.append(f"{shade:.2f} {1 - shade:.2f} 0.6 rg {70 + 38 * bar} 420 28 {height} re f")
    points = " ".join(f"{70 + 20 * n} {page.chance.randrange(90, 350)} l" for n in range(1, 24))
    page.operators.append(f"0 0 0.7 RG 2 w [6 3] 0 d 70 120 m {points} S")
    return page


def form(seed: int) -> Page:
    page = letter(seed)
    fields = []
    for row in range(8):
        look = page.look(f"0.9 0.95 1 rg 0 0 200 18 re f 0 0 0.4 RG 1 w 0 0 {40 + 20 * row} 18 re S", 200, 18)
        widget = Dictionary(
            Type=Name.Annot,
            Subtype=Name.Widget,
            FT=Name.Btn,
            Ff=65536,
            F=4,
            T=pikepdf.String(f"field {row}"),
            Rect=Array([300, 60 + 24 * row, 500, 78 + 24 * row]),
            AP=Dictionary(N=look),
        )
        fields.append(page.pdf.make_indirect(widget))
    page.page.obj.Annots = Array(fields)
    page.pdf.Root.AcroForm = Dictionary(Fields=Array(fields))
    return page


def slide(seed: int) -> Page:
    page = Page(seed, SLIDE)
    page.operators.append(f"0.1 0.2 0.{3 + seed} rg 0 0 960 540 re f 1 g")
    page.text(page.sentence(4), (60, 440), 40)
    page.paragraph(80, 360, 5, words=6, size=24, font="Helvetica")
    page.page.obj.Rotate = 90 * (seed % 4)
    return page


def transparent(seed: int) -> Page:
    page = letter(seed)
    page.page.obj.Resources.ExtGState.Half = Dictionary(ca=0.5, CA=0.5)
    ramp = Dictionary(FunctionType=2, Domain=Array([0, 1]), C0=Array([1, 0.8, 0]), C1=Array([0, 0.3, 0.9]), N=1)
    shading = Dictionary(
        ShadingType=2,
        ColorSpace=Name.DeviceRGB,
        Coords=Array([0, 0, 595, 200]),
        Function=ramp,
        Extend=Array([True, True]),
    )
    page.page.obj.Resources.Shading = Dictionary(Ramp=shading)
    page.operators.append(f"q 60 60 475 {150 + 10 * seed} re W n /Ramp sh Q /Half gs 1 0 0 rg 150 100 200 500 re f")
    return page


def stamped(seed: int) -> Page:
    page = article(seed)
    look = page.look("1 0.2 0.2 RG 4 w 4 4 192 72 re S 0.2 w 10 40 m 190 40 l S", 200, 80)
    stamp = Dictionary(Type=Name.Annot, Subtype=Name.Stamp, F=4, Rect=Array([320, 80, 520, 160]), AP=Dictionary(N=look))
    page.page.obj.Annots = Array([page.pdf.make_indirect(stamp)])
    page.page.obj.CropBox = Array([20, 20, 575, 800 + seed])
    page.page.obj.UserUnit = 1 + seed / 10
    return page


KINDS: tuple[Callable[[int], Page], ...] = (
    letter,
    article,
    table,
    scan,
    photo,
    chart,
    form,
    slide,
    transparent,
    stamped,
)


def write_all(folder: Path) -> list[Path]:
    """Write each kind in its variations, and return the files."""
    return [kind(seed).write(folder / f"{kind.__name__}-{seed}.pdf") for kind in KINDS for seed in range(VARIATIONS)]
