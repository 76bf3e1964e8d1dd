"""Pinned rows as a `datasets` dataset, map-style or streamed."""

from collections.abc import Iterator
from typing import Any

from llamafactory_lance import helper_client
from llamafactory_lance.helper_client import Pin
from llamafactory_lance.spec import TableSpec

CACHE_FOLDER = "llamafactory_lance"


class TableName(str):
    """A dataset's name as LLaMA-Factory logs and hashes it, which carries the spec along.

    LLaMA-Factory hands it through its parser, its loader and `load_dataset`, so no global table of specs is
    needed. Pickles with its spec: the fingerprint of every cache made later depends on it.
    """

    spec: TableSpec

    def __new__(cls, spec: TableSpec) -> "TableName":
        name = super().__new__(cls, f"{spec.dataset} ({spec.uri})")
        name.spec = spec
        return name

    def __reduce__(self) -> tuple[Any, ...]:
        return TableName, (self.spec,)


def cache_root(cache_dir: str | None) -> str:
    from datasets import config

    return f"{cache_dir or config.HF_DATASETS_CACHE}/{CACHE_FOLDER}"


def map_dataset(pin: Pin) -> Any:
    """Rows that lie prepared in the cache. Its fingerprint is that of spec, version, table and package."""
    from datasets import Dataset
    from datasets.table import MemoryMappedTable

    return Dataset(MemoryMappedTable.from_file(pin.path), fingerprint=pin.fingerprint)


def streamed_dataset(spec: TableSpec, pin: Pin, shards_max: int) -> Any:
    """Rows as they are scanned, in shards that data-loader workers share out among them."""
    from datasets import IterableDataset

    # A limit counts over the whole table, so its rows come in one shard.
    count = 1 if spec.limit else max(1, min(shards_max, len(pin.fragments)))
    bounds = [len(pin.fragments) * i // count for i in range(count + 1)]
    shards = [list(pin.fragments[bounds[i] : bounds[i + 1]]) for i in range(count)]
    return IterableDataset.from_generator(_rows, gen_kwargs={"spec": spec, "pin": pin, "shards": shards})


def _rows(spec: TableSpec, pin: Pin, shards: list[list[int]]) -> Iterator[dict[str, Any]]:
    for fragments in shards:
        yield from helper_client.stream(spec, pin, fragments)
