"""Settings of upkeep."""

from pydantic import Field

from frameloop.core.upkeep import UpkeepLimits
from frameloop.runtime.section import Section


class UpkeepSettings(Section):
    """Keeps the table healthy: merges small fragments, removes what nobody needs any more."""

    enabled: bool = Field(True, description="Let the upkeep actor work on the table.")
    interval_s: float = Field(
        30, gt=0, le=3600, description="Look for fragments to merge this often."
    )
    fragment_bytes: int = Field(
        512 << 20,
        ge=1 << 16,
        le=1 << 36,
        description="About this size a fragment is full, and never rewritten again.",
    )
    fan_in: int = Field(
        8,
        ge=2,
        le=64,
        description="Fragments of one size merged at a time. Higher: fewer rewrites, more fragments.",
    )
    deleted_share_max: float = Field(
        0.2, gt=0, le=1, description="A fragment that lost a larger share of its rows is rewritten."
    )
    tasks: int = Field(1, ge=1, le=256, description="Fragments rewritten at once, as Ray tasks …")
    task_cpus: float = Field(0.25, ge=0, le=64, description="… that reserve so much each.")
    keep_versions_s: float = Field(
        3600,
        ge=300,
        description="Older versions are removed unless tagged: how long a reader may use one.",
    )
    clean_interval_s: float = Field(
        300,
        gt=0,
        le=86_400,
        description="Remove old versions and files, and tend the index, this often.",
    )
    index_id: bool = Field(
        True, description="Keep a scalar index on `id`: look-ups of single rows."
    )

    @property
    def limits(self) -> UpkeepLimits:
        return UpkeepLimits(self.fan_in, self.fragment_bytes, self.deleted_share_max)
