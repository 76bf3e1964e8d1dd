"""What an entry of dataset_info.json asks of a Lance table, checked without opening it."""

import dataclasses
import os
from dataclasses import dataclass
from typing import Any

from llamafactory_lance.errors import EntryError

OPTIONS = ("version", "tag", "filter", "columns", "limit")
_ELSEWHERE = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
_NOT_FOR_TABLES = ("subset", "folder")


@dataclass(frozen=True)
class TableSpec:
    """One Lance entry. Hashable: two entries that ask for the same rows are equal but for `dataset`."""

    dataset: str
    uri: str
    columns: tuple[str, ...]
    """Columns to read, the image column included, in the order of the mapping."""
    text_column: str
    """Rows in which it is null are left out: they hold no conversation."""
    message_fields: tuple[str, ...]
    """Fields that each message must have; empty where the text column is plain text."""
    image_column: str | None = None
    formatting: str = "sharegpt"
    version: int | None = None
    tag: str | None = None
    filter: str | None = None
    limit: int | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "TableSpec":
        tuples = {name: tuple(value[name]) for name in ("columns", "message_fields")}
        return cls(**{**value, **tuples})

    @property
    def title(self) -> str:
        return f"dataset {self.dataset!r} (Lance table {self.uri})"


def is_lance_entry(entry: dict[str, Any]) -> bool:
    """Whether an entry is for this package: it has the key `lance`, or its file is a `.lance` table."""
    if "lance" in entry:
        return True
    file_name = str(entry.get("file_name", "")).rstrip("/")
    return file_name.endswith(".lance") and not any(key in entry for key in _ELSEWHERE)


def table_spec(name: str, entry: dict[str, Any], attr: Any, dataset_dir: Any) -> TableSpec:
    """The spec of entry `name`; `attr` is what LLaMA-Factory's own parser made of it (a DatasetAttr).

    Raises EntryError, naming the key, for anything that could not be meant.
    """
    options = _options(name, entry)
    _refuse_foreign_keys(name, entry, attr)
    text_column = attr.prompt if attr.formatting == "alpaca" else attr.messages
    if not text_column:
        raise EntryError(f'dataset {name!r}: no text column; map `messages` (or `prompt`) under "columns"')
    extra = options.pop("columns", [])
    return TableSpec(
        dataset=name,
        uri=_uri(entry["file_name"], dataset_dir),
        columns=tuple(dict.fromkeys([*_mapped_columns(attr), *extra])),
        text_column=text_column,
        message_fields=() if attr.formatting == "alpaca" else (attr.role_tag, attr.content_tag),
        image_column=attr.images,
        formatting=attr.formatting,
        **options,
    )


def _options(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    options = entry.get("lance", {})
    if not isinstance(options, dict):
        raise EntryError(f'dataset {name!r}: "lance" must be an object, such as {{"version": 3}}')
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise EntryError(
            f'dataset {name!r}: unknown key {", ".join(map(repr, unknown))} under "lance"; '
            f"known keys: {', '.join(OPTIONS)}"
        )
    if "version" in options and "tag" in options:
        raise EntryError(f'dataset {name!r}: give either "version" or "tag" under "lance", not both')
    for key, value in options.items():
        if not _well_typed(key, value):
            raise EntryError(f'dataset {name!r}: "lance"."{key}" cannot be {value!r}')
    return dict(options)


def _well_typed(key: str, value: Any) -> bool:
    if key in ("version", "limit"):
        return isinstance(value, int) and not isinstance(value, bool) and value > 0
    if key == "columns":
        return isinstance(value, list) and all(isinstance(item, str) and item for item in value)
    return isinstance(value, str) and bool(value.strip())


def _refuse_foreign_keys(name: str, entry: dict[str, Any], attr: Any) -> None:
    if not isinstance(entry.get("file_name"), str):
        raise EntryError(f'dataset {name!r}: a Lance entry needs "file_name", the path or URI of the table')
    foreign = [key for key in (*_ELSEWHERE, *_NOT_FOR_TABLES) if key in entry]
    if entry.get("split", "train") != "train":
        foreign.append("split")
    if foreign:
        raise EntryError(f"dataset {name!r}: {', '.join(foreign)} does not go with a Lance table; remove it")
    for kind in ("videos", "audios"):
        if getattr(attr, kind):
            raise EntryError(f"dataset {name!r}: {kind} cannot be read from a Lance table yet; images can")


def _mapped_columns(attr: Any) -> list[str]:
    if attr.formatting == "alpaca":
        names = [attr.prompt, attr.query, attr.response, attr.history]
    else:
        names = [attr.messages]
    names += [attr.system, attr.tools, attr.images, attr.kto_tag]
    if attr.ranking:
        names += [attr.chosen, attr.rejected]
    return [name for name in names if name]


def _uri(file_name: str, dataset_dir: Any) -> str:
    if "://" in file_name:
        return file_name
    base = dataset_dir if isinstance(dataset_dir, str) else "."
    return os.path.abspath(os.path.join(base, file_name))  # noqa: PTH100, PTH118 - no symlink is resolved
