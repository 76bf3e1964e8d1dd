"""Scans a table's rows into a cache folder, once for each (spec, version, table, version of this package)."""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from llamafactory_lance import __version__
from llamafactory_lance.helper import tables
from llamafactory_lance.helper.scan import RowScan
from llamafactory_lance.spec import TableSpec

ROWS = "rows.arrow"
SUMMARY = "summary.json"


def prepare(spec: TableSpec, pin: dict[str, Any] | None, cache_dir: Path) -> dict[str, Any]:
    """Make sure the rows lie in the cache and say where.

    Any number of processes may do so at once: each writes a folder of its own and renames it; the first
    wins and the others use its folder. A killed process leaves only a folder that nobody reads.
    """
    table = tables.open_pinned(spec, pin)
    pin = tables.pin_of(table)
    fingerprint = _fingerprint(spec, pin)
    folder = cache_dir / fingerprint
    if not (folder / SUMMARY).exists():
        _write(table, spec, folder)
    summary = json.loads((folder / SUMMARY).read_text())
    return {**summary, **pin, "fingerprint": fingerprint, "path": str(folder / ROWS)}


def _fingerprint(spec: TableSpec, pin: dict[str, Any]) -> str:
    # The dataset's name changes no row; the package's version may change what a reference looks like.
    asked = dataclasses.replace(spec, dataset="", version=None, tag=None).to_json()
    text = json.dumps([asked, pin, __version__], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _write(table: Any, spec: TableSpec, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    draft.chmod(0o755)  # a cache may be shared; mkdtemp makes folders for their maker only
    try:
        scan = RowScan(table, spec)
        read_before = table.io_stats_snapshot().read_bytes
        with pa.OSFile(str(draft / ROWS), "wb") as sink, pa.ipc.new_stream(sink, scan.schema) as writer:
            for batch in scan.batches():
                writer.write_table(batch)
        scan.require_rows()
        read = table.io_stats_snapshot().read_bytes - read_before
        summary = {**dataclasses.asdict(scan.tally), "bytes_read": read}
        (draft / SUMMARY).write_text(json.dumps(summary))
        with contextlib.suppress(OSError):  # another process was first
            os.rename(draft, folder)  # noqa: PTH104
    finally:
        shutil.rmtree(draft, ignore_errors=True)
