"""The trainer's end of the helper process: asks, and turns its errors into ours."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa

from llamafactory_lance.errors import BY_NAME, LanceDatasetError
from llamafactory_lance.spec import TableSpec

_STDERR_SHOWN_CHARS = 2000


@dataclass(frozen=True)
class Pin:
    """The version of a table that all ranks of a run read, and where its rows lie once prepared."""

    version: int
    identity: str
    fragments: tuple[int, ...] = ()
    path: str = ""
    fingerprint: str = ""
    tally: dict[str, int] = field(default_factory=dict, compare=False)

    @property
    def chosen(self) -> dict[str, Any]:
        return {"version": self.version, "identity": self.identity}


def prepare(spec: TableSpec, pin: Pin | None, cache_dir: str) -> Pin:
    """Scan the rows of a spec into the cache, unless they lie there. Raises LanceDatasetError."""
    answer = _ask("prepare", spec, pin, cache_dir=cache_dir)
    tally = {name: answer[name] for name in ("rows", "text_null", "image_null", "bytes_read")}
    return Pin(
        answer["version"],
        answer["identity"],
        path=answer["path"],
        fingerprint=answer["fingerprint"],
        tally=tally,
    )


def resolve(spec: TableSpec) -> Pin:
    """Choose the version to stream from and check the spec against it. Raises LanceDatasetError."""
    answer = _ask("resolve", spec, None)
    return Pin(answer["version"], answer["identity"], fragments=tuple(answer["fragments"]))


def stream(spec: TableSpec, pin: Pin, fragments: list[int]) -> Iterator[dict[str, Any]]:
    """Rows of some fragments, as they are scanned. Ends the helper when the caller stops early."""
    with tempfile.TemporaryFile() as errors:  # a pipe that nobody empties could block the helper
        process = _start(errors)
        try:
            _send(process, "stream", spec, pin, fragments=fragments)
            yield from _rows(process, errors, spec)
        finally:
            _end(process)


def _rows(process: "subprocess.Popen[bytes]", errors: IO[bytes], spec: TableSpec) -> Iterator[dict[str, Any]]:
    try:
        for batch in pa.ipc.open_stream(pa.PythonFile(process.stdout, mode="r")):
            yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError):  # a stream cut short: the helper's own error says why
        if process.wait() == 0:
            raise
    if process.wait() != 0:
        raise _error(errors, spec)


def _ask(operation: str, spec: TableSpec, pin: Pin | None, **more: Any) -> dict[str, Any]:
    with tempfile.TemporaryFile() as errors:
        process = _start(errors)
        try:
            _send(process, operation, spec, pin, **more)
            assert process.stdout is not None
            answer = process.stdout.read()
            if process.wait() != 0:
                raise _error(errors, spec)
            return dict(json.loads(answer))
        finally:
            _end(process)


def _start(errors: IO[bytes]) -> "subprocess.Popen[bytes]":
    # -P: a `lance.py` in the folder the user trains from must not stand before the real one.
    command = [sys.executable, "-P", "-m", "llamafactory_lance.helper"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)


def _send(
    process: "subprocess.Popen[bytes]", operation: str, spec: TableSpec, pin: Pin | None, **more: Any
) -> None:
    request = {"operation": operation, "spec": spec.to_json(), "pin": pin.chosen if pin else None, **more}
    assert process.stdin is not None
    process.stdin.write(json.dumps(request).encode())
    process.stdin.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.stdout is not None:
        process.stdout.close()
    if process.poll() is None:
        process.terminate()
    process.wait()


def _error(errors: IO[bytes], spec: TableSpec) -> LanceDatasetError:
    errors.seek(0)
    text = errors.read().decode(errors="replace").strip()
    last = text.rpartition("\n")[2]
    try:
        answer = json.loads(last)
        return BY_NAME[answer["error"]](answer["message"])
    except (ValueError, KeyError, TypeError):
        return LanceDatasetError(f"{spec.title}: the helper process failed:\n{text[-_STDERR_SHOWN_CHARS:]}")
