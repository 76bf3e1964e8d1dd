"""Entry point of the helper process.

Request: one JSON object on stdin. Answer: one JSON object on stdout, or an Arrow stream for `stream`.
Errors: exit status 3 and, as stderr's last line, {"error": class name, "message": text}.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from llamafactory_lance.errors import LanceDatasetError
from llamafactory_lance.helper import tables
from llamafactory_lance.helper.prepare import prepare
from llamafactory_lance.helper.scan import RowScan
from llamafactory_lance.spec import TableSpec

ERROR_STATUS = 3


def _prepare(request: dict[str, Any]) -> None:
    spec = TableSpec.from_json(request["spec"])
    print(json.dumps(prepare(spec, request["pin"], Path(request["cache_dir"]))))


def _resolve(request: dict[str, Any]) -> None:
    """Check everything that can be checked without reading all rows, for a dataset that is streamed."""
    spec = TableSpec.from_json(request["spec"])
    table = tables.open_pinned(spec, request["pin"])
    scan = RowScan(table, spec)
    next(scan.batches(), None)
    scan.require_rows()
    fragments = [fragment.fragment_id for fragment in table.get_fragments()]
    print(json.dumps({**tables.pin_of(table), "fragments": fragments}))


def _stream(request: dict[str, Any]) -> None:
    spec = TableSpec.from_json(request["spec"])
    table = tables.open_pinned(spec, request["pin"])
    scan = RowScan(table, spec, fragments=request["fragments"])
    sink = pa.PythonFile(sys.stdout.buffer, mode="w")
    with pa.ipc.new_stream(sink, scan.schema) as writer:
        for batch in scan.batches():
            writer.write_table(batch)
    sys.stdout.flush()


OPERATIONS = {"prepare": _prepare, "resolve": _resolve, "stream": _stream}


def main() -> int:
    request = json.load(sys.stdin)
    try:
        OPERATIONS[request["operation"]](request)
    except LanceDatasetError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}), file=sys.stderr)
        return ERROR_STATUS
    except BrokenPipeError:  # the reader of a stream has seen enough
        sys.stderr.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
