"""Notice of one table commit: the value of the topic `table.commits`.

A notice is a hint that wakes a consumer. The table is the truth: a notice may be missing or come
twice, never early.
"""

from pydantic import BaseModel, ConfigDict, Field


class CommittedRange(BaseModel):
    """Offsets `[offset_first, offset_next)` of one partition, now covered by the table."""

    model_config = ConfigDict(frozen=True)

    topic: str
    partition: int
    offset_first: int
    offset_next: int


class CommitNotice(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    table_uri: str
    table_version: int
    committed_at_ms: int = Field(description="Unix time in milliseconds.")
    ranges: list[CommittedRange] = Field(default_factory=list)
    rows: int = 0
    dead_letters: int = 0
    labelled_fragments: dict[str, list[int]] = Field(
        default_factory=dict, description="Fragment ids by label."
    )
