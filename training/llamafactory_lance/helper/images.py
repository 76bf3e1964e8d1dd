"""Which rows have an image, and of what size, read without the image bytes wherever that is possible."""

import io
from typing import Any

import lance.file
import numpy as np
import pyarrow as pa
from PIL import Image

from llamafactory_lance.errors import ImageError

SIZE_COLUMNS = ("width", "height")
_SIZES_ROWS_MAX = 64
_ALL_VALID = "RepdefAllValidItem"
_MAY_BE_NULL = "RepdefNull"


class NullImages:
    """Answers which rows have a null image.

    `image IS NULL` as a filter makes Lance read every image. But a fragment none of whose files lists the
    column holds nulls only, and a page's layout says when it holds none: both are metadata. Only a fragment
    with a page that may hold nulls is read.
    """

    def __init__(self, table: Any, column: str, uri: str) -> None:
        self._table = table
        self._column = column
        self._uri = uri
        self._field_id = table.lance_schema.field(column).id()
        self._by_fragment: dict[int, np.ndarray[Any, Any] | None] = {}

    def mask(self, row_addresses: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """True where the image is null. A row's address holds its fragment's id in the upper 32 bits."""
        fragment_ids = row_addresses >> 32
        mask = np.zeros(len(row_addresses), dtype=bool)
        for fragment_id in np.unique(fragment_ids):
            here = fragment_ids == fragment_id
            nulls = self._null_addresses(int(fragment_id))
            mask[here] = True if nulls is None else np.isin(row_addresses[here], nulls)
        return mask

    def _null_addresses(self, fragment_id: int) -> np.ndarray[Any, Any] | None:
        """Addresses of the nulls of one fragment; None: all of it."""
        if fragment_id not in self._by_fragment:
            self._by_fragment[fragment_id] = self._find(self._table.get_fragment(fragment_id))
        return self._by_fragment[fragment_id]

    def _find(self, fragment: Any) -> np.ndarray[Any, Any] | None:
        metadata = fragment.metadata
        files = [file for file in metadata.files if self._field_id in file.fields]
        overlays = getattr(metadata, "overlays", None)
        if not files and not overlays:
            return None
        if not overlays and all(self._all_valid(file) for file in files):
            return np.empty(0, dtype=np.uint64)
        scanner = self._table.scanner(
            columns=["_rowaddr"], filter=f"`{self._column}` IS NULL", fragments=[fragment]
        )
        return np.asarray(scanner.to_table()["_rowaddr"].to_numpy())

    def _all_valid(self, file: Any) -> bool:
        """Whether the file's own metadata shows that no value is null; False if it cannot be told."""
        if getattr(file, "base_id", None) is not None:
            return False
        try:
            reader = lance.file.LanceFileReader(f"{self._uri}/data/{file.path}")
            position = file.column_indices[list(file.fields).index(self._field_id)]
            pages = reader.metadata().columns[position].pages
        except (OSError, ValueError, IndexError):
            return False
        layouts = [page.encoding for page in pages]
        return all(_ALL_VALID in layout and _MAY_BE_NULL not in layout for layout in layouts)


def read_sizes(table: Any, column: str, rows: list[int]) -> dict[int, tuple[int, int]]:
    """(width, height) of the images of rows whose table does not say; null images are left out.

    Reads the images, a few at a time. The size is the stored one: like LLaMA-Factory, no EXIF rotation.
    """
    sizes: dict[int, tuple[int, int]] = {}
    for start in range(0, len(rows), _SIZES_ROWS_MAX):
        part = rows[start : start + _SIZES_ROWS_MAX]
        images = table.take(part, columns=[column])[column]
        for row, image in zip(part, images, strict=True):
            if image.is_valid:
                sizes[row] = image_size(image.as_buffer(), f"row {row} of column {column!r}")
    return sizes


def image_size(data: pa.Buffer | bytes, title: str) -> tuple[int, int]:
    """Raises ImageError if the bytes are no image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            return width, height
    except (OSError, ValueError) as error:
        raise ImageError(f"{title} is no image that can be read: {error}") from error
