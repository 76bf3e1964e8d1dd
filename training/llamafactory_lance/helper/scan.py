"""One pass over the rows an entry asks for: text as it is, images as references."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llamafactory_lance.errors import TableError
from llamafactory_lance.helper.images import SIZE_COLUMNS, NullImages, read_sizes
from llamafactory_lance.helper.tables import pin_of
from llamafactory_lance.reference import ImageColumn
from llamafactory_lance.spec import TableSpec

BATCH_ROWS_MAX = 4096
REFERENCES = pa.list_(pa.string())


@dataclass
class Tally:
    rows: int = 0
    text_null: int = 0
    image_null: int = 0

    @property
    def left_out(self) -> int:
        return self.text_null + self.image_null


class RowScan:
    """Yields the rows of a spec in the table's order.

    Guarantees: only the columns asked for are read (and `width`, `height`); rows with a null conversation or
    a null image are left out and counted in `tally`; the filter runs in Lance; at most `limit` rows come.
    """

    def __init__(self, table: Any, spec: TableSpec, fragments: list[int] | None = None) -> None:
        self.tally = Tally()
        self._table = table
        self._spec = spec
        self._fragments = fragments
        self._sized = bool(spec.image_column) and all(
            name in table.schema.names and pa.types.is_integer(table.schema.field(name).type)
            for name in SIZE_COLUMNS
        )
        self._nulls = NullImages(table, spec.image_column, spec.uri) if spec.image_column else None
        pin = pin_of(table)
        self._source = ImageColumn(spec.uri, pin["version"], pin["identity"], spec.image_column or "")

    @property
    def schema(self) -> pa.Schema:
        """Schema of the batches: as the table's, but references for images and plain types for extensions."""
        fields = []
        for name in self._spec.columns:
            kind = self._table.schema.field(name).type
            if name == self._spec.image_column:
                kind = REFERENCES
            elif isinstance(kind, pa.BaseExtensionType):
                kind = kind.storage_type
            fields.append(pa.field(name, kind))
        return pa.schema(fields)

    def batches(self) -> Iterator[pa.Table]:
        """Raises TableError where Lance refuses, ImageError for an image whose size cannot be read."""
        left = self._spec.limit
        try:
            for batch in self._scanner().to_batches():
                rows = self._without_nulls(pa.Table.from_batches([batch]))
                rows = self._with_references(rows) if self._spec.image_column else rows
                rows = rows if left is None else rows.slice(0, left)
                self.tally.rows += len(rows)
                left = None if left is None else left - len(rows)
                if len(rows):
                    yield rows.select(list(self._spec.columns)).cast(self.schema)
                if left == 0:
                    return
        except (OSError, RuntimeError) as error:
            raise TableError(f"{self._spec.title}: reading failed: {error}") from error

    def require_rows(self) -> None:
        """Raises TableError if the scan so far came to nothing."""
        if self.tally.rows:
            return
        where = f" that match {self._spec.filter!r}" if self._spec.filter else ""
        raise TableError(
            f"{self._spec.title}, version {self._table.version}: no rows{where} "
            f"({self.tally.text_null} left out because {self._spec.text_column!r} is null, "
            f"{self.tally.image_null} because the image is null)"
        )

    def _scanner(self) -> Any:
        columns = [name for name in self._spec.columns if name != self._spec.image_column]
        if self._spec.image_column:
            sizes = SIZE_COLUMNS if self._sized else ()
            columns = list(dict.fromkeys([*columns, *sizes, "_rowoffset", "_rowaddr"]))
        if self._spec.text_column not in columns:
            columns.append(self._spec.text_column)
        fragments = self._fragments
        return self._table.scanner(
            columns=columns,
            filter=self._spec.filter,
            batch_size=min(BATCH_ROWS_MAX, self._spec.limit or BATCH_ROWS_MAX),
            scan_in_order=True,
            fragments=None if fragments is None else [self._table.get_fragment(i) for i in fragments],
        )

    def _without_nulls(self, rows: pa.Table) -> pa.Table:
        has_text = pc.is_valid(rows[self._spec.text_column])
        kept = rows.filter(has_text)
        self.tally.text_null += len(rows) - len(kept)
        if self._nulls is None or not len(kept):
            return kept
        has_image = ~self._nulls.mask(kept["_rowaddr"].to_numpy())
        self.tally.image_null += len(kept) - int(has_image.sum())
        return kept.filter(pa.array(has_image))

    def _with_references(self, rows: pa.Table) -> pa.Table:
        offsets = rows["_rowoffset"].to_pylist()
        sizes = self._sizes(rows, offsets)
        prefix = self._source.prefix
        references = [
            [f"{prefix}{row}&size={sizes[row][0]}x{sizes[row][1]}"] if row in sizes else None
            for row in offsets
        ]
        rows = rows.append_column(self._spec.image_column, pa.array(references, REFERENCES))
        present = np.array([row in sizes for row in offsets], dtype=bool)
        self.tally.image_null += len(rows) - int(present.sum())
        return rows.filter(pa.array(present))

    def _sizes(self, rows: pa.Table, offsets: list[int]) -> dict[int, tuple[int, int]]:
        sizes: dict[int, tuple[int, int]] = {}
        if self._sized:
            widths, heights = (rows[name].to_pylist() for name in SIZE_COLUMNS)
            for row, width, height in zip(offsets, widths, heights, strict=True):
                if (width or 0) > 0 and (height or 0) > 0:
                    sizes[row] = (width, height)
        unknown = [row for row in offsets if row not in sizes]
        if unknown and self._spec.image_column:
            sizes.update(read_sizes(self._table, self._spec.image_column, unknown))
        return sizes
