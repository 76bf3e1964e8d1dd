"""Whatever bytes come: a score from 0 to 100, or the reason why there is none. No exception."""

import io
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serve_apps import frame_decode
from serve_apps.contract import Score
from serve_apps.frame_decode import decode
from serve_apps.quality import score_image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


def picture(width: int = 96, height: int = 80) -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 255, (height // 8 + 1, width // 8 + 1, 3))
    big = cv2.resize(noise.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return Image.fromarray(np.asarray(big, np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, format=kind, **options)
    return target.getvalue()


def is_sound(score: Score) -> bool:
    if score.value is None:
        return bool(score.error)
    return math.isfinite(score.value) and 0 <= score.value <= 100


@given(st.binary(max_size=400))
def test_random_bytes_are_an_error_on_the_row(data: bytes) -> None:
    assert is_sound(score_image(data))


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(FORMATS),
    position=st.floats(0, 1, exclude_max=True),
    damage=st.binary(min_size=1, max_size=40),
)
def test_overwritten_bytes_never_raise(kind: str, position: float, damage: bytes) -> None:
    data = bytearray(encoded(picture(), kind))
    start = int(position * len(data))
    data[start : start + len(damage)] = damage
    assert is_sound(score_image(bytes(data)))


@settings(deadline=None)
@given(share=st.floats(0, 0.99))
def test_a_jpeg_that_was_cut_off_has_no_score(share: float) -> None:
    data = encoded(picture())
    assert score_image(data[: int(share * len(data))]).error is not None


def test_a_thumbnail_does_not_hide_that_a_jpeg_was_cut_off() -> None:
    # The end marker of an embedded thumbnail comes before the picture's own data.
    whole = encoded(picture(), comment=b"\xff\xd8 thumbnail \xff\xd9")
    assert score_image(whole).value is not None
    assert score_image(whole[:-200]).error == "the JPEG is cut off"


def test_bytes_after_the_end_of_a_jpeg_do_no_harm() -> None:
    data = encoded(picture())
    assert score_image(data + b"\0" * 10) == score_image(data)


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 300), height=st.integers(1, 300), kind=st.sampled_from(FORMATS))
def test_any_size_has_a_score_or_is_called_too_small(width: int, height: int, kind: str) -> None:
    score = score_image(encoded(picture(width, height), kind))
    assert is_sound(score)
    assert (score.error is not None) == (min(width, height) < frame_decode.SIDE_MIN)


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "I;16"])
def test_png_of_any_colour_mode_has_a_score(mode: str) -> None:
    grey = picture().convert("L")
    image = grey.convert("I").convert(mode) if mode == "I;16" else picture().convert(mode)
    assert score_image(encoded(image, "PNG")).value is not None


def test_jpeg_in_cmyk_has_a_score() -> None:
    assert score_image(encoded(picture().convert("CMYK"))).value is not None


def test_the_declared_size_is_checked_before_anything_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(frame_decode, "PIXELS_MAX", 96 * 80 - 1)
    assert "too large" in (score_image(encoded(picture())).error or "")


def test_a_long_strip_is_not_decoded() -> None:
    assert "narrow" in (score_image(encoded(Image.new("RGB", (20_000, 110)), "PNG")).error or "")


@pytest.mark.parametrize(
    ("size", "shrink"), [((160, 210), 1), ((320, 240), 2), ((640, 480), 4), ((1920, 1080), 8)]
)
def test_large_frames_are_shrunk_while_decoding(size: tuple[int, int], shrink: int) -> None:
    frame = decode(encoded(picture(*size)))
    assert frame.shrink == shrink
    assert frame.pixels.shape == (-(-size[1] // shrink), -(-size[0] // shrink), 3)


def test_the_same_bytes_always_get_the_same_score() -> None:
    data = encoded(picture())
    assert len({score_image(data).value for _ in range(5)}) == 1
