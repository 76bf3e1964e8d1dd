"""Opening tables: which version, is it the table meant, does it have what the spec asks for."""

import hashlib
import re
from typing import Any

import lance
import pyarrow as pa

from llamafactory_lance.errors import EntryError, TableError
from llamafactory_lance.spec import TableSpec

_RUST_SOURCE = re.compile(r",? ?/\S+\.rs:\d+(:\d+)?")
_NAMES_SHOWN_MAX = 60


def reason(error: BaseException) -> str:
    """Lance's own words without the addresses of its source lines."""
    return _RUST_SOURCE.sub("", str(error)).strip()


def open_table(uri: str, version: int | str | None) -> Any:
    """Open one version (number or tag; None: the latest). Raises TableError if it is not there."""
    try:
        return lance.dataset(uri, version=version)
    except (ValueError, OSError) as error:
        if version is not None:
            raise TableError(_version_missing(uri, version)) from error
        raise TableError(f"Lance table {uri} cannot be opened: {reason(error)}") from error


def _version_missing(uri: str, version: int | str) -> str:
    latest = open_table(uri, None)  # raises if the table itself is what is missing
    tags = ", ".join(sorted(latest.tags.list())) or "none"
    kind = "tag" if isinstance(version, str) else "version"
    hint = "" if kind == "tag" else "; a clean-up deletes old versions: put a tag on the one a run needs"
    return f"Lance table {uri} has no {kind} {version}; latest version: {latest.version}, tags: {tags}{hint}"


def identity(table: Any) -> str:
    """Tells this table's version from the same version of a table created anew at the same address.

    Made from the names of the data files, which hold random parts.
    """
    digest = hashlib.sha256()
    for fragment in table.get_fragments():
        for file in fragment.metadata.files:
            digest.update(file.path.encode())
    return digest.hexdigest()[:12]


def pin_of(table: Any) -> dict[str, Any]:
    return {"version": table.version, "identity": identity(table)}


def open_pinned(spec: TableSpec, pin: dict[str, Any] | None) -> Any:
    """Open and check the table of a spec, at its pin where another rank has already chosen one."""
    version = pin["version"] if pin else spec.version or spec.tag
    table = open_table(spec.uri, version)
    if pin and identity(table) != pin["identity"]:
        raise TableError(f"Lance table {spec.uri} was replaced by another while this run was starting")
    check_columns(table, spec)
    check_filter(table, spec)
    return table


def check_columns(table: Any, spec: TableSpec) -> None:
    """Raises TableError for a missing column, EntryError for one of a type that cannot be used."""
    schema = table.schema
    if missing := [name for name in spec.columns if name not in schema.names]:
        raise TableError(
            f"{spec.title}, version {table.version}, has no column {', '.join(map(repr, missing))}; "
            f"it has {_shown(schema.names)}"
        )
    if spec.image_column:
        _check_image_column(schema.field(spec.image_column), spec)
    if spec.message_fields:
        _check_messages(schema.field(spec.text_column), spec)


def _check_image_column(field: pa.Field, spec: TableSpec) -> None:
    blob = (field.metadata or {}).get(b"lance-encoding:blob") == b"true"
    if blob or not (pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)):
        found = "a Lance blob column" if blob else f"of type {field.type}"
        raise EntryError(
            f"{spec.title}: image column {field.name!r} is {found}; "
            "binary and large_binary, one encoded image a row, can be read"
        )


def _check_messages(field: pa.Field, spec: TableSpec) -> None:
    item = getattr(field.type, "value_type", None)
    names = [item.field(i).name for i in range(item.num_fields)] if item and pa.types.is_struct(item) else []
    if missing := [name for name in spec.message_fields if name not in names]:
        raise EntryError(
            f"{spec.title}: messages in column {field.name!r} have no field "
            f"{', '.join(map(repr, missing))} but {names or field.type}; "
            'set "tags": {"role_tag": ..., "content_tag": ...} in the entry'
        )


def check_filter(table: Any, spec: TableSpec) -> None:
    """Raises TableError for a filter that Lance cannot plan; reads nothing."""
    if spec.filter is None:
        return
    try:
        table.scanner(columns=[spec.text_column], filter=spec.filter).explain_plan()
    except (ValueError, OSError) as error:
        raise TableError(
            f"{spec.title}: bad filter {spec.filter!r}: {reason(error)}. "
            f"Columns: {_shown(table.schema.names)}"
        ) from error


def _shown(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN_MAX
    return ", ".join(names[:_NAMES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
