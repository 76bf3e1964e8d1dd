"""Where an image file ends, found by walking its own structure, without decoding. Pure.

Why: decoders stop at the end of the picture and many pass over damage, so "it decoded" says
nothing about bytes behind the picture, nor about the check sums of a PNG. This costs microseconds.
"""

import re
import zlib
from collections.abc import Callable
from itertools import count

# Each scan of a progressive JPEG goes over all coefficients: a small file with thousands of scans
# takes minutes to decode. Encoders use about 10.
JPEG_SCANS_MAX = 64

_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # no stuffed byte, fill byte or restart
_JPEG_END = 0xD9
_JPEG_SCAN = 0xDA
_PNG_SIGNATURE_BYTES = 8
_PNG_CHUNK_EXTRA_BYTES = 12  # length, type, check sum
_GIF_HEADER_BYTES = 13
_GIF_IMAGE_BYTES = 10


class DamagedError(Exception):
    """The structure is broken, or the file is cut off. The message says where."""


def end_of_image(image_format: str, data: bytes) -> int:
    """Offset of the first byte after the image, at most `len(data)`.

    Raises `DamagedError`. The caller has recognised the format.
    """
    try:
        return _WALKS[image_format](data)
    except (IndexError, KeyError):
        raise DamagedError("cut off") from None


def _jpeg(data: bytes) -> int:
    position, scans = 2, 0
    while found := _JPEG_MARKER.search(data, position):
        position = found.end()
        marker = data[position - 1]
        if marker == _JPEG_END:
            return position
        if marker == _JPEG_SCAN:
            scans += 1
            if scans > JPEG_SCANS_MAX:
                raise DamagedError(f"more than {JPEG_SCANS_MAX} scans")
        if marker != 0x01:  # TEM, the one other marker without a length
            position += data[position] << 8 | data[position + 1]
    raise DamagedError("no end marker: cut off")


def _png(data: bytes) -> int:
    view = memoryview(data)
    position = _PNG_SIGNATURE_BYTES
    for chunk in count():
        end = position + int.from_bytes(view[position : position + 4]) + _PNG_CHUNK_EXTRA_BYTES
        if end > len(data):
            raise DamagedError(f"cut off in chunk {chunk}")
        # Pillow checks the sums of headers only, not those of the pixels.
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise DamagedError(f"wrong check sum in chunk {chunk}")
        if data[position + 4 : position + 8] == b"IEND":
            return end
        position = end
    raise AssertionError("unreachable")


def _webp(data: bytes) -> int:
    payload = int.from_bytes(data[4:8], "little")
    end = 8 + payload
    if end > len(data):
        raise DamagedError(f"{end - len(data)} bytes are missing")
    return min(len(data), end + (payload & 1))


def _bmp(data: bytes) -> int:
    # The size field is optional in practice; the decoder itself notices missing pixels.
    return min(len(data), int.from_bytes(data[2:6], "little") or len(data))


def _gif(data: bytes) -> int:
    position = _GIF_HEADER_BYTES + _gif_colours(data[10])
    while data[position] != 0x3B:
        if data[position] == 0x2C:
            position += _GIF_IMAGE_BYTES + _gif_colours(data[position + 9]) + 1
        elif data[position] == 0x21:
            position += 2
        else:
            raise DamagedError("unknown block")
        while size := data[position]:
            position += size + 1
        position += 1
    return position + 1


def _gif_colours(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


_WALKS: dict[str, Callable[[bytes], int]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "GIF": _gif,
    "BMP": _bmp,
}
