"""From an image of the table to what a server is sent: a data URL with the bytes, never an address."""

import base64
import io

from PIL import Image, ImageOps

from serve_apps.frame_decode import FORMATS, PIXELS_MAX, DecodeError

AS_IT_IS = ("JPEG", "PNG")
"""What every server takes. LLaMA-Factory's, for one, takes a WEBP's data URL for a web address."""
JPEG_QUALITY = 92


def data_url(data: bytes, side_max: int | None) -> str:
    """`data:image/…;base64,…`, its type decided by the content, whatever the column `format` says.

    A JPEG or PNG goes as it is, unless a side is longer than `side_max` pixels. Others are decoded
    and sent as PNG: nothing is lost but animation and transparency. Raises `DecodeError`.
    """
    # Pillow answers hostile bytes with nearly any exception, and none may take the batch with it.
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > PIXELS_MAX:
                size = f"{image.width}x{image.height}"
                raise DecodeError(f"{size} is too large: {PIXELS_MAX} pixels at most")
            kind = image.format or ""
            fits = side_max is None or max(image.size) <= side_max
            if not (fits and kind in AS_IT_IS):
                kind = kind if kind in AS_IT_IS else "PNG"
                data = _encoded(_upright(image, side_max), kind)
    except DecodeError:
        raise
    except Exception as error:
        raise DecodeError(f"the image can't be decoded ({type(error).__name__})") from error
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode('ascii')}"


def plain_picture() -> str:
    """Data URL of a picture of our own that no server has a reason to fail on: 224x224 pixels, grey."""
    return data_url(_encoded(Image.linear_gradient("L").resize((224, 224)), "PNG"), None)


def _upright(image: Image.Image, side_max: int | None) -> Image.Image:
    """As a person sees it, since what the camera noted about it is lost here."""
    if side_max is not None and image.format == "JPEG":
        image.draft("RGB", (side_max, side_max))  # decoded at a fraction, still not below this
    upright = ImageOps.exif_transpose(image).convert("RGB")
    if side_max is not None:
        upright.thumbnail((side_max, side_max), Image.Resampling.LANCZOS)
    return upright


def _encoded(image: Image.Image, kind: str) -> bytes:
    target = io.BytesIO()
    image.save(target, format=kind, quality=JPEG_QUALITY)
    return target.getvalue()
