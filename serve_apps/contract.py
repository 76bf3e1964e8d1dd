"""What a scorer is: columns in, one typed value a row out, under a name and a version.

A scorer is plain Python, knows nothing of Ray or Kafka, and is called from one thread. It is made
once in each replica, with the label's `options` as keyword arguments: that is where weights are
loaded. docs/scorers.md shows one of your own in 20 lines.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import lance
import pyarrow as pa

Value = float | int | bool | str


@dataclass(frozen=True, slots=True)
class Score:
    """What became of one row: a value, or the reason why there is none, never both.

    Neither means: looked at, and there is nothing to say (no near duplicate, for example). `reason`
    is what the scorer says for its value. `columns` are values for other columns of the row, of
    those that the scorer names in `writes`.
    """

    value: Value | None = None
    error: str | None = None
    reason: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.error is not None and (self.value is not None or self.reason or self.columns):
            raise ValueError("a score has either a value or an error")


@runtime_checkable
class Scorer(Protocol):
    """Called with the columns it asks for; answers in the order of the rows."""

    name: str
    version: str
    """Changes whenever the same row could get another value: code, weights, prompt, options."""
    type: str
    """Of its values: `float32`, `int64`, `bool` or `string`, as the label's in the settings."""
    inputs: tuple[str, ...]
    """Columns of the table that it reads."""

    def score(self, batch: pa.RecordBatch) -> list[Score]:
        """One `Score` for each row. A row that can't be scored is an error on the row, never an
        exception: an exception means that the scorer itself failed (its server is away, say) and
        the batch may be scored again.
        """
        ...


@runtime_checkable
class WritingScorer(Scorer, Protocol):
    """One that sets other columns of the row, too: those are written in the same commit."""

    writes: tuple[str, ...]
    """Names of columns that it may set; `WRITABLE` bounds them, and they must be in `inputs`: a
    row whose `Score.columns` lacks one keeps what it has."""


@runtime_checkable
class LookingScorer(Scorer, Protocol):
    """One that must see more of the table than the rows that it scores."""

    def look(self, table: lance.LanceDataset) -> None:
        """Called before the batches of each fragment, in the same thread, with the table at the
        version that they are read from. Raises as `score` does."""
        ...


WRITABLE = ("messages",)
"""Columns of ingest that a scorer may change. Never the image or where it came from."""
