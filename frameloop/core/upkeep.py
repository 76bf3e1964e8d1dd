"""Which fragments to merge into one, by their bytes. Pure.

Like the size tiers of an LSM tree: fragments of about one size are merged `fan_in` at a time, so an image is
rewritten about once a tier, and never again once its fragment is full. Lance's own planner counts
rows, and would merge fragments whose labels are still to come.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

FULL_SHARE = 0.75
"""A merged fragment is a little smaller than the sum of its parts: it must count as full all the same."""
FRAGMENT_BYTES_MIN = 1024
"""No Lance file with an image is smaller; the lowest tier begins here."""


@dataclass(frozen=True, slots=True)
class FragmentFacts:
    """What the table's metadata says of one fragment. `size` is bytes of its files."""

    fragment_id: int
    rows: int
    rows_physical: int
    size: int
    is_ledger: bool = False
    is_labelled: bool = True
    """All declared labels are there. Lance would fill a missing one with nulls, and the rows would no
    longer be found as unlabelled."""
    indexed_by: frozenset[str] = frozenset()
    """Indexes that cover it. Lance refuses to merge fragments of which only some are in an index."""

    @property
    def deleted_share(self) -> float:
        return 1 - self.rows / self.rows_physical if self.rows_physical else 0.0


@dataclass(frozen=True, slots=True)
class UpkeepLimits:
    """`target_bytes`: a fragment of about this size is never merged again."""

    fan_in: int
    target_bytes: int
    deleted_share_max: float = 0.2

    @property
    def full_bytes(self) -> int:
        return int(self.target_bytes * FULL_SHARE)

    @property
    def task_bytes_max(self) -> int:
        """No group is larger than this."""
        return 2 * self.target_bytes

    @property
    def tiers(self) -> int:
        """Sizes below full, in steps of `fan_in`."""
        return self.tier(FRAGMENT_BYTES_MIN)

    @property
    def small_max(self) -> int:
        """Most that are labelled, not full and in the same indexes, once nothing is left to merge."""
        return (self.fan_in - 1) * self.tiers

    def tier(self, size: int) -> int:
        """0 is full; each further tier is of fragments up to `fan_in` times smaller."""
        if size >= self.full_bytes:
            return 0
        size = max(size, FRAGMENT_BYTES_MIN)
        steps = math.log(self.full_bytes / size, self.fan_in)
        return max(1, math.ceil(steps - 1e-9))


def plan_groups(
    fragments: Sequence[FragmentFacts], limits: UpkeepLimits
) -> list[tuple[FragmentFacts, ...]]:
    """Groups to rewrite, each as one fragment; the smallest come first, parts in the table's order.

    A group is `fan_in` fragments of one tier, in the same indexes, or fewer if they fill the target; or one
    fragment that has lost many rows. It never has the ledger, a fragment that lacks a label, or more
    than `task_bytes_max`. A fragment is in at most one group.
    """
    tiers: dict[tuple[int, frozenset[str]], list[FragmentFacts]] = {}
    groups: list[tuple[FragmentFacts, ...]] = []
    for fragment in fragments:
        if fragment.is_ledger or not fragment.is_labelled or not fragment.rows_physical:
            continue
        if fragment.deleted_share > limits.deleted_share_max:
            if fragment.size <= limits.task_bytes_max:
                groups.append((fragment,))
        elif tier := limits.tier(fragment.size):
            tiers.setdefault((tier, fragment.indexed_by), []).append(fragment)
    for _, alike in sorted(tiers.items(), key=lambda each: -each[0][0]):
        groups += _cut(alike, limits)
    return groups


def _cut(alike: Sequence[FragmentFacts], limits: UpkeepLimits) -> list[tuple[FragmentFacts, ...]]:
    """Complete groups from the front. What is left over waits for company."""
    groups = []
    group: list[FragmentFacts] = []
    size = 0
    for fragment in alike:
        group.append(fragment)
        size += fragment.size
        if len(group) == limits.fan_in or size >= limits.target_bytes:
            groups.append(tuple(group))
            group, size = [], 0
    return groups
