"""Read images: their dimensions, a thumbnail, and a preview for models."""

from pathlib import Path

from PIL import Image, ImageOps

MAX_PIXELS = 50_000_000
MAX_FRAMES = 1000
THUMBNAIL = 320
# Models scale down larger images themselves, or refuse them.
PREVIEW = 1568
PREVIEW_BYTES = 3 * 1024 * 1024


def read_picture(file: Path, folder: Path) -> dict[str, object]:
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    try:
        with Image.open(file) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                return {"dimensions": {"width": width, "height": height}, "problem": "It has more than 50 megapixels."}
            if getattr(picture, "n_frames", 1) > MAX_FRAMES:
                return {"problem": "It has more than 1,000 frames."}
            upright = ImageOps.exif_transpose(picture)
            width, height = upright.size
            write_thumbnail(upright, folder)
            _write_preview(upright, folder)
    except Image.DecompressionBombError:
        return {"problem": "It has more than 50 megapixels."}
    return {"dimensions": {"width": width, "height": height}}


def write_thumbnail(picture: Image.Image, folder: Path) -> None:
    small = picture.convert("RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    small.save(folder / "thumbnail", "WEBP", quality=80)


def _write_preview(picture: Image.Image, folder: Path) -> None:
    """Write a JPEG, which every vision model accepts. Transparent areas become white."""
    shown = picture.convert("RGBA")
    shown.thumbnail((PREVIEW, PREVIEW))
    ground = Image.new("RGB", shown.size, "white")
    ground.paste(shown, mask=shown.getchannel("A"))
    for quality in (85, 70, 50):
        ground.save(folder / "preview", "JPEG", quality=quality)
        if (folder / "preview").stat().st_size <= PREVIEW_BYTES:
            return
