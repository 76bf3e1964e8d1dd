"""Which rows of a stretch of the table repeat an earlier one of the same source. Pure.

Rows come in the table's own order and are decided once, each by the rows before it alone. So the
answers are the same wherever and whenever the stretch is gone through.
"""

import hashlib
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from frameloop.core.hash_index import HashIndex
from frameloop.core.row_ids import ID_BYTES, pack_ids

FRESH_MAX = 8192
HASH = re.compile("[0-9a-fA-F]{16}", re.ASCII)
ORIGINAL, NO_HASH, NO_SOURCE, UNKNOWN = -1, -2, -3, -4
"""What a row is, if it is no repeat. A repeat is the place of its original, 0 or more."""

_SPREAD = np.uint64(0x9E3779B97F4A7C15)

Keys = npt.NDArray[np.uint64]
Answers = npt.NDArray[np.int32]


def keys_of(ids: Sequence[str]) -> Keys:
    """64 bits that stand for each id: both halves of those of 32 hex digits, a hash of others."""
    if all(len(each) == 2 * ID_BYTES for each in ids):
        try:
            return _folded(pack_ids(ids))
        except ValueError:
            pass
    return np.array([_key_of(each) for each in ids], np.uint64)


def _key_of(text: str) -> int:
    """The same as in company: whether a row is found must not depend on what is asked beside it."""
    try:
        return int(_folded(pack_ids([text]))[0])
    except ValueError:
        return text_key(text)


def _folded(packed: bytes) -> Keys:
    """Ids need not be hashes: counters in either half must give different keys, too."""
    halves = np.frombuffer(packed, ">u8").astype(np.uint64).reshape(-1, 2)
    return halves[:, 0] + halves[:, 1] * _SPREAD


def text_key(text: str) -> int:
    """64 bits that stand for a text, e.g. a source."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def parse_hash(text: str | None) -> int | None:
    """A `phash` of the table as a number; None if it is none."""
    if text is None or not HASH.fullmatch(text):
        return None
    return int(text, 16)


@dataclass(frozen=True, slots=True)
class Pictures:
    """Rows in the table's order; all three are as long. None: the row has none."""

    ids: Sequence[str]
    sources: Sequence[int | None]
    hashes: Sequence[int | None]


class Repeats:
    """Decides rows and remembers the answers. Grows by 12 bytes a row, and by 32 bytes, its links in
    the index and its id for each original."""

    def __init__(self, distance_max: int) -> None:
        self._index = HashIndex(distance_max)
        self._original_ids = _Texts()
        self._answers = _AnswersByKey()

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def originals(self) -> int:
        return len(self._index)

    @property
    def size_bytes(self) -> int:
        """Memory held, but for Python's own few objects."""
        return self._index.size_bytes + self._original_ids.size_bytes + self._answers.size_bytes

    def add(self, pictures: Pictures) -> None:
        """Decide the next rows. Each row must be passed once, in the table's order."""
        answers = np.empty(len(pictures.ids), np.int32)
        rows = zip(pictures.ids, pictures.sources, pictures.hashes, strict=True)
        for row, (row_id, source, bits) in enumerate(rows):
            answers[row] = self._decide(row_id, source, bits)
        self._answers.add(keys_of(pictures.ids), answers)

    def find(self, ids: Sequence[str]) -> list[int]:
        """For each row, the place of its original, `ORIGINAL`, `NO_HASH`, `NO_SOURCE`, or
        `UNKNOWN` if it has not been passed to `add`."""
        return self._answers.find(keys_of(ids)).tolist() if ids else []

    def original_id(self, place: int) -> str:
        return self._original_ids[place]

    def _decide(self, row_id: str, source: int | None, bits: int | None) -> int:
        if bits is None:
            return NO_HASH
        if source is None:
            return NO_SOURCE
        place = self._index.place(source, bits)
        if place is not None:
            return place
        self._original_ids.append(row_id)
        return ORIGINAL


@dataclass(slots=True)
class _Texts:
    """A list of texts that only grows, 8 bytes each beside their own."""

    _bytes: bytearray = field(default_factory=bytearray)
    _ends: "array[int]" = field(default_factory=lambda: array("Q"))

    def __getitem__(self, place: int) -> str:
        start = self._ends[place - 1] if place else 0
        return self._bytes[start : self._ends[place]].decode()

    @property
    def size_bytes(self) -> int:
        return len(self._bytes) + self._ends.itemsize * len(self._ends)

    def append(self, text: str) -> None:
        self._bytes += text.encode()
        self._ends.append(len(self._bytes))


class _AnswersByKey:
    """A map that only grows, as sorted runs: the log-structured tree of `row_ids`, with values."""

    def __init__(self) -> None:
        self._fresh: dict[int, int] = {}
        self._runs: list[tuple[Keys, Answers]] = []

    def __len__(self) -> int:
        return len(self._fresh) + sum(len(keys) for keys, _ in self._runs)

    @property
    def size_bytes(self) -> int:
        return sum(keys.nbytes + answers.nbytes for keys, answers in self._runs)

    def add(self, keys: Keys, answers: Answers) -> None:
        self._fresh.update(zip(keys.tolist(), answers.tolist(), strict=True))
        if len(self._fresh) < FRESH_MAX:
            return
        run = _sorted_run(
            np.fromiter(self._fresh.keys(), np.uint64, len(self._fresh)),
            np.fromiter(self._fresh.values(), np.int32, len(self._fresh)),
        )
        self._fresh.clear()
        while self._runs and len(self._runs[-1][0]) <= 2 * len(run[0]):
            keys, answers = self._runs.pop()
            run = _sorted_run(np.concatenate([keys, run[0]]), np.concatenate([answers, run[1]]))
        self._runs.append(run)

    def find(self, wanted: Keys) -> Answers:
        found = np.array([self._fresh.get(key, UNKNOWN) for key in wanted.tolist()], np.int32)
        for keys, answers in self._runs:
            at = np.searchsorted(keys, wanted)
            at[at == len(keys)] = 0
            there = keys[at] == wanted
            found[there] = answers[at[there]]
        return found


def _sorted_run(keys: Keys, answers: Answers) -> tuple[Keys, Answers]:
    order = np.argsort(keys, kind="stable")
    return keys[order], answers[order]
