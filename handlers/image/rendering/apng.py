"""Composes the frames of an APNG. Pillow blends alpha as if it were a color, and begins with the still picture."""

from PIL import Image, PngImagePlugin

from handlers.image.rendering.pixels import Picture, to_eight_bits


class ApngCanvas:
    """The canvas that frames are drawn on, clear at first."""

    def __init__(self, image: PngImagePlugin.PngImageFile) -> None:
        self._image = image
        self._canvas = Image.new("RGBA", image.size)
        self._is_empty = True
        self._restored: tuple[Picture, tuple[int, int]] | None = None

    def draw(self) -> tuple[Picture, str]:
        """Decode and draw the frame that was sought; return the canvas, which changes with the next frame, and a note.

        Raises what decoders raise.
        """
        image = self._image
        if self._restored:
            self._canvas.paste(*self._restored)
        blend, image.blend_op, image.dispose = image.blend_op, PngImagePlugin.Blend.OP_SOURCE, None
        image.load()  # the frame's area alone is looked at
        area = image.info.get("bbox") or (0, 0, *image.size)
        frame, note = to_eight_bits(image.crop(area))
        frame, corner = frame.convert("RGBA"), area[:2]
        match image.dispose_op:
            case PngImagePlugin.Disposal.OP_PREVIOUS if not self._is_empty:
                self._restored = self._canvas.crop(area), corner
            case PngImagePlugin.Disposal.OP_PREVIOUS | PngImagePlugin.Disposal.OP_BACKGROUND:
                self._restored = Image.new("RGBA", frame.size), corner
            case _:
                self._restored = None
        self._is_empty = False
        if blend == PngImagePlugin.Blend.OP_OVER:
            self._canvas.alpha_composite(frame, corner)
        else:
            self._canvas.paste(frame, corner)
        return self._canvas, note
