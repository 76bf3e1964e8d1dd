"""From bytes that anybody may have sent to pixels, at the scale that is enough.

A frame is shrunk while it is decoded, which a JPEG decoder does for less than the full frame, until
its shorter side has 120 to 240 pixels; small frames (Atari: 160x210) are taken as they are. 640x480
shrunk to a half, not to a quarter, costs 1.5 ms instead of 1.1, with all its metrics.
"""

import io
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""Decoders that hostile bytes may reach: what ingest can be set to accept, no more."""
PIXELS_MAX = 80_000_000
"""Decoded pixels of one frame; under the number from which Pillow calls it a bomb."""
FRAME_PIXELS_MAX = 2_000_000
"""Pixels of a shrunk frame. Only one more than 30 times as long as high has more."""
SIDE_MIN = 16
"""Pixels of the shorter side; below, there is no 8x8 block to measure noise on."""
SIDE_MEASURED_MIN = 120
"""The decoder may shrink a frame as long as its shorter side keeps this many pixels."""
QUANTISATION_AT_50 = 57.625
"""Mean of the luma table that the JPEG standard suggests, which libjpeg calls quality 50."""

_COLOUR_BY_SHRINK = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


class DecodeError(ValueError):
    """The bytes are no frame that can be measured. Stays in this package: an error on the row."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame, `pixels` of shape (height, width, 3), blue-green-red, `shrink` times less
    in each direction than the source."""

    pixels: Pixels
    shrink: int
    quantisation: float
    """Mean luma quantiser of a JPEG, 1.0 at quality 50; 0 where there is none."""


def decode(data: bytes) -> Frame:
    """The frame, shrunk while decoding as far as `SIDE_MEASURED_MIN` allows.

    Raises `DecodeError`, whatever is wrong with the bytes.
    """
    width, height, quantisation = _header(data)
    shrink = _shrink(width, height)
    if data.startswith(_JPEG_START) and _is_cut_off(data):
        raise DecodeError("the JPEG is cut off")
    flags = _COLOUR_BY_SHRINK[shrink] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DecodeError("the image data can't be decoded") from error
    # The two libraries may see different frames in a crafted file.
    if pixels is None or min(pixels.shape[:2]) < SIDE_MIN:
        raise DecodeError("the image data can't be decoded")
    return Frame(cast(Pixels, pixels), shrink, quantisation)


def _header(data: bytes) -> tuple[int, int, float]:
    """Width, height and mean luma quantiser, without decoding."""
    # Pillow answers hostile bytes with nearly any exception (struct.error, IndexError,
    # SyntaxError, ...), and none of them may take the batch with it.
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            tables = getattr(image, "quantization", None)
            quantisation = sum(tables[0]) / 64 / QUANTISATION_AT_50 if tables else 0.0
            return image.width, image.height, quantisation
    except Exception as error:
        raise DecodeError(f"no readable image header ({type(error).__name__})") from error


def _shrink(width: int, height: int) -> int:
    """8, 4, 2 or 1. Raises `DecodeError` for a size that is not to be decoded."""
    if min(width, height) < SIDE_MIN:
        raise DecodeError(f"{width}x{height} is too small: {SIDE_MIN} pixels a side at least")
    if width * height > PIXELS_MAX:
        raise DecodeError(f"{width}x{height} is too large: {PIXELS_MAX} pixels at most")
    fitting = (n for n in _COLOUR_BY_SHRINK if min(width, height) >= SIDE_MEASURED_MIN * n)
    shrink = next(fitting, 1)
    if width * height > FRAME_PIXELS_MAX * shrink**2:
        raise DecodeError(f"{width}x{height} is too large for so narrow a frame")
    return shrink


def _is_cut_off(jpeg: bytes) -> bool:
    """Whether the end marker is missing: libjpeg would fill up the rest with grey, in silence.

    An embedded thumbnail has an end marker of its own, so only one after the last scan's start
    counts; the scan's data can't hold either marker.
    """
    return not jpeg.endswith(_JPEG_END) and jpeg.rfind(_JPEG_END) < jpeg.rfind(_JPEG_SCAN)
