"""Is this an image that may go into the table? Decided by content alone.

Names, headers and content types are not looked at. What passes is of an allowed format, one frame,
within the pixel limit, decodes without an error, ends with its format's end mark, and has at most
`TRAILING_BYTES_MAX` bytes behind it. A JPEG has no check sums: half of one with an end mark put
behind it passes, its lower part grey.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Sequence

from PIL import Image, ImageFile, UnidentifiedImageError
from PIL import WebPImagePlugin as _  # noqa: F401  known to `Image.open` without loading all others

from frameloop.adapters.image_end import DamagedError, end_of_image
from frameloop.core.errors import Rejected
from frameloop.core.event_row import ImageFacts
from schemas.dead_letter import Reason

# Cameras and CDNs pad. Beyond that, bytes behind the picture (an archive, a page, a second
# picture) would be stored, hashed and sent on though nobody has verified them.
TRAILING_BYTES_MAX = 4096

_HASH_COLUMNS, _HASH_ROWS = 9, 8  # 8 differences in each of 8 rows: 64 bits
_DRAFT_SIZE = (4 * _HASH_COLUMNS, 4 * _HASH_ROWS)  # enough for the hash; JPEG decodes an eighth
_PILLOW = r"PIL(\.|$)"
_PILLOW_MODULE = re.compile(_PILLOW)

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\0\0\1\0", "ICO"),
    (b"8BPS", "PSD"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x1aE\xdf\xa3", "Matroska or WebM video"),
)

Image.preinit()


def verify_image(data: bytes, *, formats: Sequence[str], pixels_max: int) -> ImageFacts:
    """Decode the image in full and describe it. CPU work of about 1 ms: call it in a thread.

    Raises `Rejected`: IMAGE_EMPTY, IMAGE_NOT_RECOGNISED, IMAGE_TOO_MANY_PIXELS (before anything is
    decoded; Pillow's own limit holds as well), IMAGE_ANIMATED or IMAGE_DAMAGED. JPEG has no check
    sums: flipped bits that still decode are not noticed.
    """
    if not data:
        raise Rejected(Reason.IMAGE_EMPTY, "0 bytes")
    _make_pillow_strict()
    with _opened(data, tuple(formats)) as image:
        # Taken now: `draft` changes the size that the image reports.
        width, height, image_format = image.width, image.height, image.format or ""
        if width * height > pixels_max:
            raise Rejected(
                Reason.IMAGE_TOO_MANY_PIXELS, f"{width} x {height}, {pixels_max} pixels allowed"
            )
        _check_single_and_whole(image, image_format, data)
        phash = _difference_hash(_decoded(image))
    return ImageFacts(image_format, width, height, hashlib.sha256(data).hexdigest(), phash)


def _make_pillow_strict() -> None:
    """Pillow's warnings are errors, in this process, from here on.

    Once and for all, as `warnings.catch_warnings` swaps global state and so isn't safe in threads.
    Looked at each time, as others may have replaced the filters since.
    """
    for action, _message, _category, module, _line in warnings.filters:
        if action == "error" and module == _PILLOW_MODULE:
            return
    warnings.filterwarnings("error", module=_PILLOW)


def _opened(data: bytes, formats: tuple[str, ...]) -> ImageFile.ImageFile:
    """The header is read, no pixel is decoded."""
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Rejected(Reason.IMAGE_TOO_MANY_PIXELS, str(error)) from None
    except UnidentifiedImageError:
        pass
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  parsers fed with hostile bytes raise anything
        raise _damaged(error) from None
    content = describe_content(data)
    if content in formats:
        raise Rejected(Reason.IMAGE_DAMAGED, f"{content} with a broken header")
    raise Rejected(
        Reason.IMAGE_NOT_RECOGNISED, f"content looks like {content}; allowed: {', '.join(formats)}"
    )


def _check_single_and_whole(image: ImageFile.ImageFile, image_format: str, data: bytes) -> None:
    try:
        if getattr(image, "is_animated", False):
            raise Rejected(Reason.IMAGE_ANIMATED, f"{image_format} with more than one picture")
        trailing = len(data) - end_of_image(image_format, data)
    except (Rejected, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  `is_animated` parses further
        raise _damaged(error) from None
    if trailing > TRAILING_BYTES_MAX:
        raise Rejected(
            Reason.IMAGE_DAMAGED,
            f"{trailing} bytes after the end of the image, {TRAILING_BYTES_MAX} allowed",
        )


def _decoded(image: ImageFile.ImageFile) -> Image.Image:
    try:
        # JPEG only: all of the data is still entropy-decoded, but the inverse transform is done
        # for an eighth of the size, in grey. For other formats this does nothing.
        image.draft("L", _DRAFT_SIZE)
        image.load()
        return image
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  decoders fed with hostile bytes raise anything
        raise _damaged(error) from None


def _difference_hash(image: Image.Image) -> str:
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda level: level * (1 / 256)).convert("L")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")  # palettes and bitmaps can't be averaged
    small = image.resize((_HASH_COLUMNS, _HASH_ROWS), Image.Resampling.BOX).convert("L").tobytes()
    bits = 0
    for left in range(_HASH_COLUMNS * _HASH_ROWS):
        if left % _HASH_COLUMNS != _HASH_COLUMNS - 1:
            bits = bits << 1 | (small[left] > small[left + 1])
    return f"{bits:016x}"


def _damaged(error: Exception) -> Rejected:
    if isinstance(error, DamagedError):
        return Rejected(Reason.IMAGE_DAMAGED, str(error))
    return Rejected(Reason.IMAGE_DAMAGED, f"{type(error).__name__}: {error}"[:200])


def describe_content(data: bytes) -> str:
    """What bytes are by their first few: a format's name, or words for a person."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return f"AVIF, HEIC or MP4 (brand {data[8:12].decode('ascii', 'replace')})"
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<"):
        return "SVG" if b"<svg" in head.lower() else "HTML or XML"
    if head.startswith((b"{", b"[")):
        return "JSON"
    if head and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        return "plain text"
    return f"unknown data ({data[:8].hex(' ')} …)"
