"""What passes verification is a whole, single picture of an allowed format. Nothing else passes."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from frameloop.adapters.image import TRAILING_BYTES_MAX, verify_image
from frameloop.adapters.image_end import JPEG_SCANS_MAX, DamagedError, end_of_image
from frameloop.core.errors import Rejected
from frameloop.core.event_row import ImageFacts
from schemas.dead_letter import Reason

ALL = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
PIXELS_MAX = 1_000_000


def picture(width: int = 320, height: int = 240, seed: int = 1) -> Image.Image:
    random, image = Random(seed), Image.new("RGB", (width, height), "navy")
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = random.randrange(width), random.randrange(height)
        colour = tuple(random.randrange(256) for _ in range(3))
        draw.rectangle((x, y, x + width // 5, y + height // 5), fill=colour)
    return image


def encoded(image_format: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, image_format, **options)
    return buffer.getvalue()


def verified(data: bytes, formats: tuple[str, ...] = ALL, pixels: int = PIXELS_MAX) -> ImageFacts:
    return verify_image(data, formats=formats, pixels_max=pixels)


def refusal(data: bytes, formats: tuple[str, ...] = ALL, pixels: int = PIXELS_MAX) -> Rejected:
    with pytest.raises(Rejected) as caught:
        verified(data, formats, pixels)
    return caught.value


FILES = {
    "JPEG": encoded("JPEG"),
    "JPEG progressive": encoded("JPEG", progressive=True),
    "JPEG grey": encoded("JPEG", picture().convert("L")),
    "JPEG CMYK": encoded("JPEG", picture().convert("CMYK")),
    "PNG": encoded("PNG"),
    "PNG palette": encoded("PNG", picture().convert("P")),
    "PNG alpha": encoded("PNG", picture().convert("RGBA")),
    "PNG bitmap": encoded("PNG", picture().convert("1")),
    "PNG 16 bit": encoded("PNG", picture().convert("L").convert("I;16")),
    "WEBP": encoded("WEBP"),
    "WEBP lossless": encoded("WEBP", lossless=True),
    "GIF": encoded("GIF"),
    "BMP": encoded("BMP"),
}
every_file = pytest.mark.parametrize("name", FILES)


@every_file
def test_a_whole_image_is_described_as_it_is(name: str) -> None:
    found = verified(FILES[name])
    assert found.format == name.split()[0]
    assert (found.width, found.height) == (320, 240)
    assert found.sha256 == sha256(FILES[name]).hexdigest()
    assert len(found.phash) == 16
    assert int(found.phash, 16) >= 0


@every_file
@pytest.mark.parametrize("missing", [1, 2, 10, 100, 1000])
def test_a_file_that_is_cut_off_is_damaged(name: str, missing: int) -> None:
    kept = max(len(FILES[name]) - missing, len(FILES[name]) // 2)
    assert refusal(FILES[name][:kept]).reason is Reason.IMAGE_DAMAGED


@every_file
def test_a_file_cut_off_in_its_header_is_damaged_or_not_recognised(name: str) -> None:
    for length in range(1, 64):
        reason = refusal(FILES[name][:length]).reason
        assert reason in (Reason.IMAGE_DAMAGED, Reason.IMAGE_NOT_RECOGNISED)


@every_file
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_damage_gives_an_image_or_a_rejection_and_nothing_else(
    name: str, data: st.DataObject
) -> None:
    damaged = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Rejected):
        verified(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))


@given(
    st.binary(max_size=200), st.sampled_from([f[:n] for f in FILES.values() for n in (0, 4, 12)])
)
def test_any_bytes_are_rejected_with_a_reason(data: bytes, head: bytes) -> None:
    assert refusal(head + data).reason.value.startswith("image_")


def test_a_flipped_bit_in_a_png_is_noticed_wherever_it_is() -> None:
    for position in range(8, len(FILES["PNG"]), 37):
        damaged = bytearray(FILES["PNG"])
        damaged[position] ^= 1
        assert refusal(bytes(damaged)).reason is Reason.IMAGE_DAMAGED


def test_no_byte_is_empty() -> None:
    assert refusal(b"").reason is Reason.IMAGE_EMPTY


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"<!DOCTYPE html><title>404</title>", "HTML"),
        (b"\xef\xbb\xbf\n <svg xmlns='x'>", "SVG"),
        (b'{"error": "gone"}', "JSON"),
        (b"not found\n", "plain text"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
        (b"\x01\x02\x03\x04", "01 02 03 04"),
        (encoded("TIFF"), "TIFF"),
        (encoded("GIF"), "GIF"),
    ],
)
def test_what_is_no_allowed_image_is_named_in_the_detail(data: bytes, hint: str) -> None:
    rejected = refusal(data, ("JPEG", "PNG"))
    assert rejected.reason is Reason.IMAGE_NOT_RECOGNISED
    assert hint in rejected.detail
    assert "allowed: JPEG, PNG" in rejected.detail


def test_the_format_is_decided_by_content_for_each_allowed_list() -> None:
    for image_format in ALL:
        assert verified(FILES[image_format], (image_format,)).format == image_format
        others = tuple(f for f in ALL if f != image_format)
        assert refusal(FILES[image_format], others).reason is Reason.IMAGE_NOT_RECOGNISED


def test_too_many_pixels_are_refused_by_the_header_alone() -> None:
    assert verified(FILES["PNG"], pixels=320 * 240)
    for image_format in ALL:
        too_many = refusal(FILES[image_format], pixels=320 * 240 - 1)
        assert too_many.reason is Reason.IMAGE_TOO_MANY_PIXELS
        assert "320 x 240" in too_many.detail


@pytest.mark.parametrize("side", [9_500, 30_000])  # Pillow warns at 89 million, raises at twice
def test_pillows_own_limit_holds_above_ours(side: int) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    sum_ = struct.pack(">I", zlib.crc32(header))
    bomb = (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + sum_ + b"\0\0\0\0IDAT" + b"\0" * 4
    )
    assert refusal(bomb, pixels=10**9).reason is Reason.IMAGE_TOO_MANY_PIXELS


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "MPO"])
def test_more_than_one_frame_is_animated(image_format: str) -> None:
    frames = [picture(64, 64, seed) for seed in range(3)]
    moving = encoded(image_format, frames[0], save_all=True, append_images=frames[1:])
    assert refusal(moving).reason is Reason.IMAGE_ANIMATED


@every_file
def test_bytes_after_the_end_are_refused_above_a_small_bound(name: str) -> None:
    padded = FILES[name] + b"\0" * TRAILING_BYTES_MAX
    assert verified(padded).sha256 == sha256(padded).hexdigest()
    polyglot = refusal(FILES[name] + b"PK\x03\x04" * TRAILING_BYTES_MAX)
    assert polyglot.reason is Reason.IMAGE_DAMAGED
    assert "after the end" in polyglot.detail


def test_a_progressive_jpeg_with_very_many_scans_is_refused_before_decoding() -> None:
    data = FILES["JPEG progressive"]
    last_scan = data.rindex(b"\xff\xda")
    bomb = data[:last_scan] + data[last_scan:-2] * JPEG_SCANS_MAX + b"\xff\xd9"
    rejected = refusal(bomb)
    assert rejected.reason is Reason.IMAGE_DAMAGED
    assert "scans" in rejected.detail


@pytest.mark.parametrize("image_format", ALL)
@given(data=st.binary(max_size=300))
def test_walking_any_bytes_ends_within_them_or_in_damage(image_format: str, data: bytes) -> None:
    with suppress(DamagedError):
        assert end_of_image(image_format, FILES[image_format][:40] + data) <= 40 + len(data)


@every_file
def test_an_image_ends_where_its_file_ends(name: str) -> None:
    assert end_of_image(name.split()[0], FILES[name]) == len(FILES[name])


def test_pictures_that_look_alike_have_hashes_that_are_alike() -> None:
    def distance(a: bytes, b: bytes) -> int:
        return (int(verified(a).phash, 16) ^ int(verified(b).phash, 16)).bit_count()

    original = encoded("PNG", picture(640, 480))
    assert distance(original, encoded("JPEG", picture(640, 480), quality=40)) <= 4
    assert distance(original, encoded("WEBP", picture(640, 480))) <= 4
    assert distance(original, encoded("PNG", picture(640, 480).resize((320, 240)))) <= 4
    assert distance(original, encoded("PNG", picture(640, 480).convert("RGBA"))) == 0
    grey = picture(640, 480).convert("L")
    deep = Image.frombytes("I;16", grey.size, bytes(b for v in grey.tobytes() for b in (v, v)))
    assert distance(encoded("PNG", grey), encoded("PNG", deep)) <= 4
    assert distance(original, encoded("PNG", picture(640, 480, seed=2))) > 12


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (7, 9), (9, 8)])
@pytest.mark.parametrize("image_format", ALL)
def test_very_small_and_narrow_images_pass(image_format: str, size: tuple[int, int]) -> None:
    found = verified(encoded(image_format, picture(*size)))
    assert (found.width, found.height) == size


def test_threads_verify_at_once_with_the_same_results() -> None:
    alone = [verified(data) for data in FILES.values()]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(verified, list(FILES.values()) * 8)) == alone * 8
