"""What the disk itself writes: sequentially, and on the disk at the end, not in the page cache."""

import os
import time
from pathlib import Path

BLOCK_BYTES = 4 << 20


def sequential_bytes_per_s(folder: Path, size: int) -> float:
    """As `dd conv=fsync` does; of bytes that do not compress."""
    path = folder / "sequential"
    block = os.urandom(BLOCK_BYTES)
    os.sync()
    began = time.monotonic()
    with path.open("wb") as file:
        for _ in range(-(-size // BLOCK_BYTES)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.monotonic() - began
    written = path.stat().st_size
    path.unlink()
    return written / seconds


def sync_tree(folder: Path) -> None:
    """Have all files of the folder on the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def tree_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
