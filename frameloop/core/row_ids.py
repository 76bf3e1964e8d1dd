"""Which rows the table has, by id: 16 bytes a row in memory, at a cost that stays flat.

A log-structured set: new ids gather in a small set, which is then sealed into a sorted run; runs of
similar size are merged. A look-up asks each of the few runs by binary search (O'Neil et al., "The
log-structured merge-tree", 1996). An id has 128 bits, so equal ids are equal rows.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

ID_BYTES = 16
FRESH_MAX = 8192
Halves = npt.NDArray[np.uint64]
"""Shape (rows, 2): upper and lower half of each id."""


def pack_ids(ids: Sequence[str]) -> bytes:
    """Ids of 32 hex digits as 16 bytes each. Raises `ValueError` for anything else."""
    packed = bytes.fromhex("".join(ids))
    if len(packed) != ID_BYTES * len(ids):
        raise ValueError("an id of a row has 32 hex digits")
    return packed


class RowIds:
    """A set of packed ids that only grows."""

    def __init__(self) -> None:
        self._fresh: set[bytes] = set()
        self._runs: list[Halves] = []

    def __len__(self) -> int:
        return len(self._fresh) + sum(len(run) for run in self._runs)

    def add(self, packed: bytes) -> None:
        """Add ids; one that is there already changes nothing that can be asked."""
        if len(packed) > ID_BYTES * FRESH_MAX:
            self._seal(_sorted_halves(packed))
            return
        self._fresh.update(_split(packed))
        if len(self._fresh) >= FRESH_MAX:
            self._seal(_sorted_halves(b"".join(self._fresh)))
            self._fresh.clear()

    def known(self, packed: bytes) -> list[int]:
        """Places in `packed` of ids that are in the set, or that stand there a second time."""
        ids = list(_split(packed))
        found = self._in_runs(_halves(packed)) if self._runs and ids else set[int]()
        seen: set[bytes] = set()
        for place, each in enumerate(ids):
            if each in self._fresh or each in seen:
                found.add(place)
            seen.add(each)
        return sorted(found)

    def _in_runs(self, wanted: Halves) -> set[int]:
        found = set()
        for run in self._runs:
            first = np.searchsorted(run[:, 0], wanted[:, 0], side="left")
            last = np.searchsorted(run[:, 0], wanted[:, 0], side="right")
            for place in np.flatnonzero(last > first):
                lower = run[first[place] : last[place], 1]
                if wanted[place, 1] in lower:
                    found.add(int(place))
        return found

    def _seal(self, run: Halves) -> None:
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = _merged(self._runs.pop(), run)
        self._runs.append(run)


def _split(packed: bytes) -> Iterable[bytes]:
    return (packed[at : at + ID_BYTES] for at in range(0, len(packed), ID_BYTES))


def _halves(packed: bytes) -> Halves:
    return np.frombuffer(packed, dtype=">u8").astype(np.uint64).reshape(-1, 2)


def _sorted_halves(packed: bytes) -> Halves:
    return _in_order(_halves(packed))


def _in_order(halves: Halves) -> Halves:
    return halves[np.lexsort((halves[:, 1], halves[:, 0]))]


def _merged(one: Halves, other: Halves) -> Halves:
    return _in_order(np.concatenate([one, other]))
