"""Keeps clear what no frame of a GIF covers, as browsers do. Pillow paints it in the color of the background."""

from PIL import GifImagePlugin, Image, ImageFile

_CLEARED, _RESTORED = 2, 3
"""Disposal methods: before the next frame, a frame's area is cleared, or becomes what it was before."""


def clear_background(image: ImageFile.ImageFile) -> None:
    """Clear the area around the first frame, and see to it that the area of the frame just decoded will be cleared."""
    if not isinstance(image, GifImagePlugin.GifImageFile) or image.dispose_extent is None:
        return
    left, top, right, bottom = extent = image.dispose_extent
    method, image.disposal_method = image.disposal_method, 0  # else Pillow takes it for frames that name none
    is_first = image.tell() == 0
    if is_first and "transparency" in image.info:
        return  # Pillow fills its canvas with the transparent color
    if is_first and extent != (0, 0, *image.size):
        canvas = Image.new("RGBA", image.size)
        canvas.paste(image.crop(extent).convert("RGBA"), (left, top))
        _replace(image, canvas)
    if method == _CLEARED or (is_first and method == _RESTORED):
        if image.mode != "RGBA":
            _replace(image, image.convert("RGBA"))
        # This is what Pillow pastes before the next frame.
        image.dispose = Image.new("RGBA", (right - left, bottom - top)).im


def _replace(image: GifImagePlugin.GifImageFile, canvas: Image.Image) -> None:
    """Let the next frame be drawn on `canvas`."""
    image.im, image._mode = canvas.im, canvas.mode  # noqa: SLF001 - Pillow, whose version is pinned, has no other door
