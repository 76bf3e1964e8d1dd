"""Is there an earlier picture of the same source that looks like this one? At a flat cost.

Multi-index hashing (Norouzi, Punjani and Fleet, "Fast search in Hamming space with multi-index
hashing", 2012): two hashes that differ in at most d bits agree in one of d+1 parts. Each part is a
chained hash table over the originals, so a look-up meets few of them, however many there are.

docs/near-duplicates.md has the figures.
"""

from array import array

import numpy as np
import numpy.typing as npt

HASH_BITS = 64
DISTANCE_MAX = 3
"""Beyond it the parts grow short and chains long; and frames of play look like repeats."""
CANDIDATES_MAX = 512
"""Entries of one chain that are compared, the newest first. Chains are short unless pictures agree
in a whole part of their hashes; then this bounds the cost, and older ones are not found."""
BUCKETS_MIN = 1024

_WORD = (1 << 64) - 1
# Odd constants that spread the bits of their factor (Knuth's multiplicative hashing).
_MIX, _MIX_SOURCE = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
_END = -1


class HashIndex:
    """Originals in the order in which they came. Not thread-safe.

    An original is more than `distance_max` bits away from every earlier original of its source:
    what is nearer repeats that one, and is not kept.
    """

    def __init__(self, distance_max: int) -> None:
        if not 0 <= distance_max <= DISTANCE_MAX:
            raise ValueError(f"distance_max is {distance_max}, 0 to {DISTANCE_MAX} can be had")
        self._distance_max = distance_max
        self._masks = _interleaved(distance_max + 1)
        self._hashes, self._sources = array("Q"), array("Q")
        self._next = [array("i") for _ in self._masks]
        self._heads: list[array[int]] = []
        self._shift = 0
        self._rebuild(BUCKETS_MIN)

    def __len__(self) -> int:
        return len(self._hashes)

    @property
    def size_bytes(self) -> int:
        """Memory held."""
        arrays = [self._hashes, self._sources, *self._next, *self._heads]
        return sum(each.buffer_info()[1] * each.itemsize for each in arrays)

    def place(self, source: int, bits: int) -> int | None:
        """The place of the earliest original that this one repeats.

        None if it repeats none: then it is an original from now on, at place `len(index) - 1`.
        Both arguments are 64 bits, unsigned.
        """
        earliest = self._earliest(source, bits)
        if earliest is None:
            self._add(source, bits)
        return earliest

    def _earliest(self, source: int, bits: int) -> int | None:
        hashes, sources, distance_max = self._hashes, self._sources, self._distance_max
        found = len(hashes)
        salt = source * _MIX_SOURCE
        for mask, heads, following in zip(self._masks, self._heads, self._next, strict=True):
            at = heads[(((bits & mask) + salt) * _MIX & _WORD) >> self._shift]
            left = CANDIDATES_MAX
            while at != _END and left:
                if (
                    at < found
                    and (hashes[at] ^ bits).bit_count() <= distance_max
                    and sources[at] == source
                ):
                    found = at
                at = following[at]
                left -= 1
        return None if found == len(hashes) else found

    def _add(self, source: int, bits: int) -> None:
        place = len(self._hashes)
        self._hashes.append(bits)
        self._sources.append(source)
        if place >= len(self._heads[0]):
            self._rebuild(2 * len(self._heads[0]))
            return
        salt = source * _MIX_SOURCE
        for mask, heads, following in zip(self._masks, self._heads, self._next, strict=True):
            bucket = (((bits & mask) + salt) * _MIX & _WORD) >> self._shift
            following.append(heads[bucket])
            heads[bucket] = place

    def _rebuild(self, buckets: int) -> None:
        """Chains anew over more buckets, in one go rather than one by one."""
        self._shift = HASH_BITS - (buckets.bit_length() - 1)
        hashes = np.array(self._hashes, np.uint64)
        salts = np.array(self._sources, np.uint64) * np.uint64(_MIX_SOURCE)
        self._heads, self._next = [], []
        for mask in self._masks:
            keys = ((hashes & np.uint64(mask)) + salts) * np.uint64(_MIX)
            heads, following = _chains(keys >> np.uint64(self._shift), buckets)
            self._heads.append(heads)
            self._next.append(following)


def _interleaved(parts: int) -> tuple[int, ...]:
    """Each part takes every n-th bit, hence a bit of every region of the picture: a status bar or
    a black half fixes some bits of each part rather than all bits of one."""
    return tuple(sum(1 << bit for bit in range(part, HASH_BITS, parts)) for part in range(parts))


def _chains(buckets: npt.NDArray[np.uint64], count: int) -> tuple["array[int]", "array[int]"]:
    """The newest entry of each bucket, and for each entry the next older one of its bucket."""
    order = np.argsort(buckets, kind="stable").astype(np.int32)
    same = buckets[order[1:]] == buckets[order[:-1]]
    following = np.full(len(buckets), _END, np.int32)
    following[order[1:][same]] = order[:-1][same]
    heads = np.full(count, _END, np.int32)
    heads[buckets[order]] = order  # the last one wins: the newest
    return array("i", heads.tobytes()), array("i", following.tobytes())
