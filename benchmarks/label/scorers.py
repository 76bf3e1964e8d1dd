"""Scorers of the benchmark: both sides call the same one on the same Arrow columns."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.table import Label
from serve_apps.contract import Score


class NullScorer:
    """Does nothing with the image, whose bytes are in memory: what is left is reading and writing."""

    name, version, type = "null", "1", "float32"
    inputs: tuple[str, ...] = ("image",)

    def score(self, batch: pa.RecordBatch) -> list[Score]:
        images: Any = batch.column("image")
        lengths: list[int] = pc.binary_length(images).to_pylist()
        return [Score(float(length)) for length in lengths]


class FromLabelScorer:
    """Reads no image: is the frame good, and does its caption name the game?"""

    name, version, type = "from_label", "1", "bool"
    inputs: tuple[str, ...] = ("score1", "messages")

    def score(self, batch: pa.RecordBatch) -> list[Score]:
        talk: Any = batch.column("messages")
        rows = pc.list_parent_indices(talk).to_numpy()
        says = pc.match_substring(pc.struct_field(pc.list_flatten(talk), "content"), "Doom")
        named = np.zeros(batch.num_rows, bool)
        named[rows[says.to_numpy(zero_copy_only=False)]] = True
        scores: Any = batch.column("score1")
        good = np.nan_to_num(scores.to_numpy(zero_copy_only=False)) > 0
        return [Score(value) for value in (named & good).tolist()]


SCORE = Label("score1")
VERDICT = Label("verdict", "bool")
LABELS = (SCORE, VERDICT)
