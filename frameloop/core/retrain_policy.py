"""When to start a training run. Pure: counts and times are passed in."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetrainLimits:
    """Settings of the trigger."""

    min_new_rows: int
    min_gap_s: float


@dataclass(frozen=True, slots=True)
class RetrainState:
    """What the decision rests on. Rows are those that pass the filter."""

    rows_passing: int
    rows_of_last_success: int
    seconds_since_last_start: float | None
    running: bool

    @property
    def rows_new(self) -> int:
        return max(0, self.rows_passing - self.rows_of_last_success)


@dataclass(frozen=True, slots=True)
class RetrainDecision:
    start: bool
    why: str


def decide_retrain(limits: RetrainLimits, state: RetrainState) -> RetrainDecision:
    """Start if nothing runs, the gap has passed and enough new rows pass; else say what is missing."""
    if state.running:
        return RetrainDecision(False, "a run is under way")
    since = state.seconds_since_last_start
    if since is not None and since < limits.min_gap_s:
        return RetrainDecision(False, f"{limits.min_gap_s - since:.0f} s of the gap are left")
    missing = limits.min_new_rows - state.rows_new
    if missing > 0:
        return RetrainDecision(False, f"{missing} more passing rows are needed")
    return RetrainDecision(True, f"{state.rows_new} new rows pass")
