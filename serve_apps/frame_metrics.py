"""What can be measured on one frame. No judgement here: `quality` turns the numbers into a score."""

from dataclasses import dataclass
from math import hypot, sqrt
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt

from serve_apps.frame_decode import Frame, Pixels

BLOCK_STEP_MAX = 16
"""Levels; the largest step between pixels that may come from compression."""

_SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0], np.float32)
_NOISE_SCALE = float(np.sqrt(np.pi / 2) / 6)


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
