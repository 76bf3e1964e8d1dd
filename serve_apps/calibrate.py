"""How the quality score answers to known damage: the table of `docs/quality-score.md`, remade.

python -m serve_apps.calibrate FOLDER [--frames 50]
"""

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image

from serve_apps.fragment_scoring import BATCH_ROWS
from serve_apps.frame_decode import Pixels
from serve_apps.quality import QualityScorer, score_image

JPEG_QUALITY = 90
"""Of every degraded frame, except where the quality itself is the damage."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """One kind of damage. `apply(pixels, strength)` gives the encoded frame; mildest first."""

    name: str
    strengths: tuple[float, ...]
    apply: Callable[[Pixels, float], bytes]


def encode(pixels: Pixels, quality: int = JPEG_QUALITY) -> bytes:
    """The frame, of shape (height, width, 3), red-green-blue, as JPEG."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format="JPEG", quality=quality)
    return target.getvalue()


def _levels(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> bytes:
    return encode(np.clip(values, 0, 255).astype(np.uint8))


def _blur(pixels: Pixels, sigma: float) -> bytes:
    return encode(cv2.GaussianBlur(pixels, (0, 0), sigma).astype(np.uint8))


def _noise(pixels: Pixels, sigma: float) -> bytes:
    return _levels(pixels + np.random.default_rng(0).normal(0, sigma, pixels.shape))


def _gain(pixels: Pixels, factor: float) -> bytes:
    return _levels(pixels * np.float64(factor))


def _offset(pixels: Pixels, levels: float) -> bytes:
    return _levels(pixels + np.float64(levels))


def _contrast(pixels: Pixels, factor: float) -> bytes:
    mean = pixels.mean()
    return _levels((pixels - mean) * factor + mean)


def _jpeg(pixels: Pixels, quality: float) -> bytes:
    return encode(pixels, int(quality))


def _jpeg_again(pixels: Pixels, quality: float) -> bytes:
    with Image.open(io.BytesIO(_jpeg(pixels, quality))) as image:
        return encode(np.asarray(image, dtype=np.uint8), 95)


DEGRADATIONS = (
    Degradation("Gaussian blur, sigma in pixels", (1, 2, 4), _blur),
    Degradation("Gaussian noise, sigma in levels", (5, 10, 20, 40), _noise),
    Degradation("dark: levels times", (0.6, 0.4, 0.2, 0.1), _gain),
    Degradation("over-exposed: levels times", (2, 3, 5, 8), _gain),
    Degradation("washed out: levels plus", (40, 80, 120, 160), _offset),
    Degradation("low contrast: spread times", (0.7, 0.4, 0.2, 0.1), _contrast),
    Degradation("JPEG quality", (90, 50, 30, 10), _jpeg),
    Degradation("JPEG quality, then again at 95", (50, 30, 10), _jpeg_again),
)


def score_of(encoded: bytes) -> float:
    """The score. Raises `ValueError` if there is none."""
    score = score_image(encoded)
    if score.value is None:
        raise ValueError(score.error)
    return float(score.value)


def report(frames: Sequence[Pixels]) -> Iterator[str]:
    """Lines of a Markdown table: mean scores of the frames, damaged in each way."""
    intact = sorted(score_of(encode(frame)) for frame in frames)
    share = sum(score > 60 for score in intact) / len(intact)
    mean, median = statistics.fmean(intact), statistics.median(intact)
    yield f"{len(intact)} frames, not damaged: mean {mean:.1f}, median {median:.1f}, "
    yield f"least {intact[0]:.1f}, above 60: {share:.0%}\n\n"
    yield "| damage | mean score by strength |\n|---|---|\n"
    for damage in DEGRADATIONS:
        means = [
            statistics.fmean(score_of(damage.apply(frame, strength)) for frame in frames)
            for strength in damage.strengths
        ]
        cells = ", ".join(f"{s:g}: {m:.1f}" for s, m in zip(damage.strengths, means, strict=True))
        yield f"| {damage.name} | {cells} |\n"


def throughput(encoded: Sequence[bytes], seconds_min: float = 3.0) -> float:
    """Frames a second that one scorer, hence one replica, gets through in its one thread."""
    scorer = QualityScorer()
    batches = pa.table({"image": pa.array(encoded, pa.large_binary())}).to_batches(BATCH_ROWS)
    scored, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds_min:
        scored += sum(len(scorer.score(batch)) for batch in batches)
    return scored / (time.perf_counter() - started)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the report on the images of a folder."""
    parser = argparse.ArgumentParser(prog="python -m serve_apps.calibrate", description=__doc__)
    parser.add_argument("folder", type=Path, help="holds .jpg, .jpeg or .png files")
    parser.add_argument("--frames", type=int, default=50, help="at most so many (default: 50)")
    options = parser.parse_args(arguments)
    kinds = {".jpg", ".jpeg", ".png"}
    files = sorted(f for f in options.folder.rglob("*") if f.suffix.lower() in kinds)
    files = files[:: max(1, len(files) // options.frames)][: options.frames]
    if not files:
        parser.error(f"no images in {options.folder}")
    frames = [np.array(Image.open(f).convert("RGB"), dtype=np.uint8) for f in files]
    sys.stdout.writelines(report(frames))
    encoded = [file.read_bytes() for file in files]
    rate, kilobytes = throughput(encoded), statistics.fmean(map(len, encoded)) / 1e3
    sys.stdout.write(f"\n{rate:.0f} frames a second in one thread, files of {kilobytes:.0f} kB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
