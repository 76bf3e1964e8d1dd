"""What a scorer is: columns in, one score a row out, under a name and a version.

A scorer is plain Python, knows nothing of Ray, Kafka or Lance, and is called from one thread.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one row: a value, or the reason why there is none, never both."""

    value: float | None
    error: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.error is None):
            raise ValueError("a score has either a value or an error")


@runtime_checkable
class Scorer(Protocol):
    """Called with the columns it asks for; answers in the order of the rows."""

    name: str
    version: str
    """Changes whenever the same image could get another score."""
    inputs: tuple[str, ...]
    """Columns of the table that it reads."""

    def score(self, batch: pa.RecordBatch) -> list[Score]:
        """One `Score` for each row. An image that can't be scored is an error on its row, never an
        exception: an exception means that the scorer itself failed and the batch may be retried.
        """
        ...
