"""What a server is sent: the image as it is, or the same picture in a form that it takes."""

import base64
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serve_apps.frame_decode import DecodeError
from serve_apps.vlm_image import data_url, plain_picture


def picture(
    kind: str, size: tuple[int, int] = (60, 40), mode: str = "RGB", **options: object
) -> bytes:
    target = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(target, kind, **options)
    return target.getvalue()


def sent(url: str) -> tuple[str, bytes]:
    head, _, body = url.partition(";base64,")
    return head.removeprefix("data:image/"), base64.b64decode(body, validate=True)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_every_server_takes_goes_byte_for_byte(kind: str) -> None:
    data = picture(kind)
    assert sent(data_url(data, None)) == (kind.lower(), data)
    assert sent(data_url(data, 60)) == (kind.lower(), data)


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP"])
def test_other_formats_become_png_without_loss(kind: str) -> None:
    data = picture(kind, **({"lossless": True} if kind == "WEBP" else {}))
    named, png = sent(data_url(data, None))
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(png)) as after:
        assert (named, after.format) == ("png", "PNG")
        assert before.convert("RGB").tobytes() == after.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("size", "then"), [((600, 400), (300, 200)), ((100, 900), (33, 300))])
def test_a_side_that_is_too_long_is_shrunk_in_proportion(
    kind: str, size: tuple[int, int], then: tuple[int, int]
) -> None:
    _, data = sent(data_url(picture(kind, size), 300))
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == then


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "I;16"])
def test_pictures_of_any_mode_can_be_shrunk(mode: str) -> None:
    source = Image.new(mode, (600, 400))
    target = io.BytesIO()
    source.save(target, "PNG")
    _, data = sent(data_url(target.getvalue(), 300))
    with Image.open(io.BytesIO(data)) as image:
        assert (image.size, image.mode) == ((300, 200), "RGB")


def test_a_picture_that_lies_on_its_side_is_sent_upright_when_it_is_encoded_anew() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    _, data = sent(data_url(picture("JPEG", (600, 400), exif=exif), 300))
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (200, 300)


def test_too_many_pixels_are_not_decoded() -> None:
    target = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(target, "PNG")
    with pytest.raises(DecodeError, match="9000x9000 is too large"):
        data_url(target.getvalue(), 300)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["WEBP", "GIF", "BMP", "PNG"]), st.floats(0, 1))
def test_damaged_bytes_raise_nothing_else(damage: bytes, kind: str, at: float) -> None:
    data = bytearray(picture(kind))
    start = int(at * len(data))
    data[start : start + len(damage)] = damage
    try:
        outcome, _ = sent(data_url(bytes(data), 30))
    except DecodeError as error:
        outcome = str(error)
    assert outcome in ("jpeg", "png") or 0 < len(outcome) < 200


def test_the_plain_picture_is_small_and_always_the_same() -> None:
    assert plain_picture() == plain_picture()
    assert len(plain_picture()) < 4_000
