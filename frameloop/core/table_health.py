"""What is counted of a table, and what of it is out of its bounds. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from frameloop.core.upkeep import UpkeepLimits

UNLABELLED_FRAGMENTS_MAX = 512
"""They are merged once they are labelled: scoring is behind, or stands still."""
UNNAMED_BYTES_SHARE_MAX = 0.2
UNNAMED_BYTES_MIN = 4 << 30
TAG_AGE_S_MAX = 7 * 24 * 3600.0
OPEN_SECONDS_MAX = 1.0
CLEAN_UPS_LATE = 3


@dataclass(frozen=True, slots=True)
class TagFacts:
    name: str
    version: int
    age_s: float


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One look at a table. Sizes are bytes.

    `fragments` counts all; `full` will not be merged again; `small` have all labels and wait
    for others of their size, by tier; the rest lacks a label or is the ledger's. `unnamed_*`: data
    files that no version names. `version_age_s_max`: of the oldest version that has no tag and is
    not the latest.
    """

    version: int
    rows: int
    fragments: int
    full: int
    small: Mapping[int, int]
    unlabelled: int
    size: int
    versions: int
    version_age_s_max: float
    files: int
    unnamed_count: int
    unnamed_size: int
    unnamed_overdue: int
    tags: tuple[TagFacts, ...]
    open_seconds: float
    rows_unindexed: int | None
    """None: there is no index."""

    @property
    def small_count(self) -> int:
        return sum(self.small.values())


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bound: is it kept, and if not, what to do?"""

    what: str
    value: float
    bound: float
    advice: str

    @property
    def is_kept(self) -> bool:
        return self.value <= self.bound


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the settings promise."""

    limits: UpkeepLimits
    keep_versions_s: float
    clean_interval_s: float

    @property
    def small_max(self) -> int:
        """What may be left over after merging, in the index and not yet in it."""
        return 2 * self.limits.small_max

    @property
    def version_age_s_max(self) -> float:
        return self.keep_versions_s + CLEAN_UPS_LATE * self.clean_interval_s


def judge(facts: TableFacts, bounds: Bounds) -> list[Verdict]:
    """Every bound, kept or not."""
    unnamed_max = max(UNNAMED_BYTES_MIN, facts.size * UNNAMED_BYTES_SHARE_MAX)
    oldest_tag = max((tag.age_s for tag in facts.tags), default=0.0)
    return [
        Verdict(
            "small fragments",
            facts.small_count,
            bounds.small_max,
            "Does the service run, with upkeep.enabled? Its log says why it does not merge them.",
        ),
        Verdict(
            "unlabelled fragments",
            facts.unlabelled,
            UNLABELLED_FRAGMENTS_MAX,
            "Scoring is behind: `frameloop status`, the scorer's replicas.",
        ),
        Verdict(
            "age of the oldest version without a tag, s",
            round(facts.version_age_s_max),
            bounds.version_age_s_max,
            "Does the service run, with upkeep.enabled? Its log says why it does not remove them.",
        ),
        Verdict(
            "bytes of files that no version names",
            facts.unnamed_size,
            unnamed_max,
            "Writers die often (`FrameloopRestarting`). They are removed when 7 days old.",
        ),
        Verdict(
            "such files older than 7 days",
            facts.unnamed_overdue,
            0,
            "The next clean-up of the running service removes them.",
        ),
        Verdict(
            "age of the oldest tag, s",
            round(oldest_tag),
            TAG_AGE_S_MAX,
            "A tag keeps its version's files. If nobody reads it: lance.dataset(uri).tags.delete(name).",
        ),
        Verdict(
            "time to open the table, s",
            round(facts.open_seconds, 3),
            OPEN_SECONDS_MAX,
            "It grows with fragments: a larger upkeep.fragment_bytes. Else the storage is slow.",
        ),
    ]
