"""Reads images from tables in the process that needs them: the data collator's.

The only place where a trainer touches Lance. Open tables are kept by process id: a forked data-loader worker
never uses a handle of its parent.
"""

import io
import os
from collections.abc import Iterable
from typing import Any

from llamafactory_lance.errors import ImageError
from llamafactory_lance.reference import ImageColumn, ImageReference

_TABLES: dict[tuple[int, ImageColumn], Any] = {}


def fetch_images(references: Iterable[str]) -> dict[str, bytes]:
    """The encoded images, each once, in one read for each table.

    Raises ImageError if a table's version is gone or replaced, or an image is not of the size its row says:
    its tokens were counted by that size.
    """
    rows_by_source: dict[ImageColumn, dict[int, list[ImageReference]]] = {}
    for text in dict.fromkeys(references):
        reference = ImageReference.parse(text)
        rows_by_source.setdefault(reference.source, {}).setdefault(reference.row, []).append(reference)
    images: dict[str, bytes] = {}
    for source, rows in rows_by_source.items():
        for row, data in _read(source, sorted(rows)).items():
            for reference in rows[row]:
                _check(reference, data)
                images[str(reference)] = data
    return images


def _read(source: ImageColumn, rows: list[int]) -> dict[int, bytes]:
    table = _table(source)
    try:
        column = table.take(rows, columns=[source.column])[source.column]
    except (ValueError, OSError) as error:
        raise ImageError(
            f"images of Lance table {source.uri}, version {source.version}, cannot be read: {error}"
        ) from error
    return dict(zip(rows, column.to_pylist(), strict=True))


def _table(source: ImageColumn) -> Any:
    key = (os.getpid(), source)
    if key not in _TABLES:
        _TABLES[key] = _open(source)
    return _TABLES[key]


def _open(source: ImageColumn) -> Any:
    # Imported here, in the collator's process and not before: see `helper`.
    from llamafactory_lance.errors import TableError
    from llamafactory_lance.helper.tables import identity, open_table

    try:
        table = open_table(source.uri, source.version)
    except TableError as error:
        raise ImageError(f"images of a tokenized dataset are gone: {error}") from error
    if identity(table) != source.identity:
        raise ImageError(
            f"Lance table {source.uri} is no longer the one this dataset was tokenized from; tokenize again"
        )
    return table


def _check(reference: ImageReference, data: bytes | None) -> None:
    from PIL import Image

    if data is None:
        raise ImageError(f"no image at {reference}")
    try:
        with Image.open(io.BytesIO(data)) as image:
            size = image.size
    except (OSError, ValueError) as error:
        raise ImageError(f"no image that can be read at {reference}: {error}") from error
    if size != reference.size:
        raise ImageError(f"the image at {reference} is {size[0]}x{size[1]}: mend the row's width and height")
