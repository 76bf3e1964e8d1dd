"""What can be measured on one encoded frame: decoding at the scale that is enough, then numbers.

No judgement here: `quality` turns these numbers into a score. Everything but the step over the 8x8
block grid is taken on a frame whose shorter side has 120 to 240 pixels, which a JPEG decoder gives
for less than the full frame; small frames (Atari: 160x210) are taken as they are. A frame of
640x480 shrunk to a half instead costs 1.5 ms where this costs 1.1, with all its metrics.
"""

import io
from dataclasses import dataclass
from math import hypot, sqrt
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
SIDE_MIN = 16
"""Pixels of the shorter side; below, there is no 8x8 block to measure noise on."""
SIDE_MEASURED_MIN = 120
"""The decoder may shrink a frame as long as its shorter side keeps this many pixels."""
QUANTISATION_AT_50 = 57.625
"""Mean of the luma table that the JPEG standard suggests, which libjpeg calls quality 50."""

BLOCK_STEP_MAX = 16
"""Levels; the largest step between pixels that may come from compression."""

_COLOUR_BY_SHRINK = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}
_JPEG_END, _JPEG_SCAN = b"\xff\xd9", b"\xff\xda"
_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0], np.float32)
_NOISE_SCALE = float(np.sqrt(np.pi / 2) / 6)


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


@dataclass(frozen=True, slots=True)
class FrameMetrics:
    """Levels (0-255) unless said otherwise."""

    contrast: float
    """Standard deviation of the colours."""
    shadow: float
    """Luma that 1% of the pixels do not exceed."""
    highlight: float
    """Luma that 0.5% of the pixels reach."""
    clipped: float
    """Share of colour values burnt out to white (0-1)."""
    entropy: float
    """Bits of the luma histogram in 32 bins (0-5)."""
    colourfulness: float
    """Hasler and Süsstrunk's measure: 0 grey, 15 slightly, 33 moderately, 59 quite colourful."""
    sharpness: float
    """Structure at one pixel against four (0-4): 1 or more at hard edges, 0.25 on ramps."""
    noise: float
    """Standard deviation of the noise in the flattest tenth of the frame."""
    quantisation: float
    """See `Frame`."""
    blockiness: float
    """Step across the 8x8 grid beyond the largest step beside it, in the better direction; 0 where
    the frame was shrunk too much to tell."""


def decode(data: bytes) -> Frame:
    """The frame, shrunk while decoding as far as `SIDE_MEASURED_MIN` allows.

    Raises `DecodeError`, whatever is wrong with the bytes.
    """
    # The image libraries answer hostile bytes with nearly any exception (struct.error, IndexError,
    # SyntaxError, cv2.error, ...), and none of them may take the batch with it.
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as header:
            width, height = header.size
            is_jpeg, tables = header.format == "JPEG", getattr(header, "quantization", None)
    except Exception as error:
        raise DecodeError(f"no readable image header ({type(error).__name__})") from error
    if min(width, height) < SIDE_MIN:
        raise DecodeError(f"{width}x{height} is too small: {SIDE_MIN} pixels a side at least")
    if width * height > PIXELS_MAX:
        raise DecodeError(f"{width}x{height} is too large: {PIXELS_MAX} pixels at most")
    if is_jpeg and _is_cut_off(data):
        raise DecodeError("the JPEG is cut off")
    shrink = next(
        n for n in _COLOUR_BY_SHRINK if n == 1 or min(width, height) >= SIDE_MEASURED_MIN * n
    )
    flags = _COLOUR_BY_SHRINK[shrink] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DecodeError("the image data can't be decoded") from error
    if pixels is None:
        raise DecodeError("the image data can't be decoded")
    quantisation = sum(tables[0]) / 64 / QUANTISATION_AT_50 if tables else 0.0
    return Frame(cast(Pixels, pixels), shrink, quantisation)


def _is_cut_off(jpeg: bytes) -> bool:
    """Whether the end marker is missing: libjpeg would fill up the rest with grey, in silence.

    An embedded thumbnail has an end marker of its own, so only one after the last scan's start
    counts; the scan's data can't hold either marker.
    """
    return not jpeg.endswith(_JPEG_END) and jpeg.rfind(_JPEG_END) < jpeg.rfind(_JPEG_SCAN)


def measure(frame: Frame) -> FrameMetrics:
    """All metrics of one frame. Never fails on a frame that `decode` returned."""
    luma = _grey(frame.pixels)
    # Halving averages four pixels: noise must not pass for contrast, colour or information.
    small = cv2.resize(frame.pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    histogram = cv2.calcHist([_grey(small)], [0], None, [256], [0, 256]).ravel()
    histogram /= histogram.sum()
    cumulated = histogram.cumsum()
    contrast, colourfulness = _colours(small)
    return FrameMetrics(
        contrast=contrast,
        shadow=float(cumulated.searchsorted(0.01)),
        highlight=float(cumulated.searchsorted(0.995)),
        clipped=float(np.count_nonzero(small >= 250)) / small.size,
        entropy=_entropy(histogram.reshape(32, 8).sum(axis=1)),
        colourfulness=colourfulness,
        sharpness=_sharpness(luma),
        noise=_noise(luma),
        quantisation=frame.quantisation,
        blockiness=_blockiness(luma, 8 // frame.shrink),
    )


def _grey(pixels: Pixels) -> Pixels:
    return cast(Pixels, cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))


def _entropy(shares: npt.NDArray[np.float32]) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def _colours(pixels: Pixels) -> tuple[float, float]:
    """Contrast over the three channels, and Hasler and Süsstrunk's colourfulness."""
    means, deviations = cv2.meanStdDev(pixels)
    blue, green, red = cv2.split(pixels)
    yellow = cv2.addWeighted(red, 0.5, green, 0.5, 0)
    opponents = ((red, green), (yellow, blue))
    b, g, r = means.ravel().tolist()
    offset = hypot(r - g, (r + g) / 2 - b)
    # Mean square of both differences, less the square of their means: their variances together.
    power = sum(cv2.norm(one, other, cv2.NORM_L2SQR) for one, other in opponents) / blue.size
    colourfulness = sqrt(max(0.0, power - offset**2)) + 0.3 * offset
    return sqrt(float((deviations**2).mean())), colourfulness


def _sharpness(luma: Pixels) -> float:
    """Energy of the steps over one pixel against that over four pixels, which are a structure
    function's values: 4 x 1/4 at hard edges, 4 x 1/16 on ramps, more on fine texture and noise.

    It doesn't matter how many edges there are, only how steep they are: a flat Atari screen with a
    few sprites is sharp. The size in it keeps rounding in a blank frame from counting as edges.
    """
    near = _step_energy(luma, 1)
    return 4 * near / (_step_energy(luma, 4) + luma.size)


def _step_energy(luma: Pixels, lag: int) -> float:
    across = cv2.norm(luma[:, lag:], luma[:, :-lag], cv2.NORM_L2SQR)
    return float(across + cv2.norm(luma[lag:], luma[:-lag], cv2.NORM_L2SQR))


def _noise(luma: Pixels) -> float:
    """Immerkær's estimate in 8x8 blocks. Texture looks like noise: the flattest tenth decides."""
    response = cv2.sepFilter2D(luma, cv2.CV_16S, _SECOND_DIFFERENCE, _SECOND_DIFFERENCE)
    corners = cv2.integral(cv2.convertScaleAbs(response))[::8, ::8].copy()
    blocks = (corners[1:, 1:] - corners[1:, :-1] - corners[:-1, 1:] + corners[:-1, :-1]).ravel()
    rank = blocks.size // 10
    return float(np.partition(blocks, rank)[rank]) / 64 * _NOISE_SCALE


def _blockiness(luma: Pixels, period: int) -> float:
    """Both directions must show the grid: Atari's own picture elements lie on it in one."""
    if period < 2:
        return 0.0
    across, down = cv2.absdiff(luma[:, 1:], luma[:, :-1]), cv2.absdiff(luma[1:], luma[:-1])
    return max(0.0, min(_grid_excess(across, 0, period), _grid_excess(down, 1, period)))


def _grid_excess(steps: Pixels, axis: int, period: int) -> float:
    # What compression tears apart are small steps; a large one is an edge that belongs there.
    _, small = cv2.threshold(steps, BLOCK_STEP_MAX, 0, cv2.THRESH_TOZERO_INV)
    profile = cv2.reduce(small, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
    phases = profile[: profile.size // period * period].reshape(-1, period).mean(axis=0)
    return float(phases[-1] - phases[:-1].max())
