"""Settings of one label, `[labels.NAME]`: a column of the table and the scorer that fills it."""

from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from frameloop.runtime.section import Section

LabelType = Literal["float32", "int64", "bool", "string"]

SCORER_TYPES: dict[str, LabelType] = {
    "quality": "float32",
    "judge": "float32",
    "caption": "string",
    "near_duplicate": "string",
}
"""The service's own scorers, and the type of what each gives."""

SCORER_FILTERS = {"caption": "messages[-1]['role'] = 'user'"}
"""In force where the settings name no filter: a caption that came with the event is kept."""

OWN_SCORER = ".py:"


class LabelSettings(Section):
    """A label: a column of the table, and the scorer that fills it."""

    scorer: str = Field(
        min_length=1,
        max_length=1000,
        description="`quality`, `judge`, `caption`, `near_duplicate`, or `FILE.py:CLASS`, your own.",
    )
    type: LabelType | None = Field(
        None, description="Of the values. Needless for the service's own scorers; else `float32`."
    )
    filter: str | None = Field(
        None,
        min_length=1,
        max_length=2000,
        description="SQL over the row, e.g. `score1 >= 40`: only rows that pass are scored. "
        "`caption` without one: rows without a caption.",
    )
    rescore: bool = Field(
        False,
        description="Score rows of another scorer version again by itself, without `label --stale`.",
    )
    options: dict[str, JsonValue] = Field(default_factory=dict, description="Passed to the scorer.")
    replicas_min: int = Field(1, ge=0, le=256)
    replicas_max: int = Field(1, ge=1, le=256, description="More start while requests wait.")
    replica_cpus: float = Field(0.5, ge=0, le=64)
    replica_gpus: float = Field(0, ge=0, le=8)

    @property
    def row_filter(self) -> str | None:
        """SQL that a row must pass to be scored; None: all are."""
        return self.filter or SCORER_FILTERS.get(self.scorer)

    @property
    def value_type(self) -> LabelType:
        return self.type or SCORER_TYPES.get(self.scorer, "float32")

    def may_become(self, other: "LabelSettings") -> bool:
        """May a running service go over to the other settings? Its consumers know some of them."""
        same = ("value_type", "row_filter", "rescore")
        return all(getattr(self, name) == getattr(other, name) for name in same)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.scorer not in SCORER_TYPES and OWN_SCORER not in self.scorer:
            known = ", ".join(SCORER_TYPES)
            raise ValueError(
                f"scorer: there is no scorer {self.scorer!r}; known: {known}, or FILE.py:CLASS"
            )
        own = SCORER_TYPES.get(self.scorer)
        if self.type is not None and own is not None and self.type != own:
            raise ValueError(f"type: scorer {self.scorer} gives {own}, not {self.type}")
        if self.replicas_min > self.replicas_max:
            raise ValueError("replicas_min must not exceed replicas_max")
        return self
