"""Scorer `quality`: how usable a frame is as a picture, 0 to 100, without model weights.

The score is 100 times the product of factors between 0 and 1, one for each way in which a frame can
be bad. A product, since one fault is enough: a sharp, colourful frame that is nearly black is of no
use. `docs/quality-score.md` has the meaning of the scale and the measurements behind the constants.
"""

from math import exp, prod

import cv2
import pyarrow as pa

from serve_apps.contract import Score
from serve_apps.frame_decode import DecodeError, Frame, decode
from serve_apps.frame_metrics import FrameMetrics, measure


def factors(metrics: FrameMetrics) -> dict[str, float]:
    """Each component's factor, 0 (useless on this account) to 1 (nothing to find fault with).

    Every curve is smooth and without a plateau, so that a little damage always costs something.
    """
    return {
        "contrast": _rising(metrics.contrast, 5),
        "light": _rising(metrics.highlight, 22),
        "overexposure": (1.0 - metrics.clipped) * (1 - (metrics.shadow / 255) ** 2.5),
        "sharpness": _rising(max(0.0, metrics.sharpness - 0.25), 0.3),
        "noise": 1 / (1 + (metrics.noise / 5) ** 2),
        "compression": 1 / (1 + (metrics.quantisation / 4) ** 1.2),
        "blockiness": 1 / (1 + (metrics.blockiness / 3) ** 1.5),
        "colour": 0.93 + 0.07 * (1 - exp(-metrics.colourfulness / 15)),
        "entropy": 0.94 + 0.06 * (1 - exp(-metrics.entropy / 1.0)),
    }


def _rising(value: float, half: float) -> float:
    """0 at 0, 1/2 at `half`, towards 1 beyond."""
    return value**2 / (value**2 + half**2)


def quality(metrics: FrameMetrics) -> float:
    """The score, 0 to 100."""
    return 100 * prod(factors(metrics).values())


class QualityScorer:
    """Scores the column `image`. Deterministic: the same bytes always get the same score."""

    name = "quality"
    version = "1"
    """To be raised with any change to a constant or formula here, in `frame_metrics` or in `frame_decode`."""
    type = "float32"
    inputs: tuple[str, ...] = ("image",)

    def __init__(self) -> None:
        # OpenCV would start a thread a core, in every replica of the machine: n replicas would run
        # n x cores threads on frames that take one thread a millisecond. Replicas are the unit.
        cv2.setNumThreads(1)

    def score(self, batch: pa.RecordBatch) -> list[Score]:
        """One `Score` a row; null, corrupt, cut-off, tiny or huge is an error on the row."""
        # Decoding all, then measuring all, takes 8% less time than frame by frame: either keeps its
        # code in the cache. What is held meanwhile is bounded by `FRAME_PIXELS_MAX`.
        frames = [_decoded(data) for data in batch.column("image").to_pylist()]
        return [_scored(frame) for frame in frames]


def score_image(data: bytes | None) -> Score:
    """The score of one encoded image. Never raises for what the bytes hold."""
    return _scored(_decoded(data))


def _decoded(data: bytes | None) -> Frame | str:
    """The frame, or why there is none."""
    if data is None:
        return "the image is null"
    try:
        return decode(data)
    except DecodeError as error:
        return str(error)


def _scored(frame: Frame | str) -> Score:
    return Score(None, frame) if isinstance(frame, str) else Score(quality(measure(frame)))
