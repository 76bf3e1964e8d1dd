"""When to start a training run. Pure: counts and times are passed in."""

from dataclasses import dataclass

FAILURE_GAP_MAX_S = 3600.0


@dataclass(frozen=True, slots=True)
class RetrainLimits:
    """Settings of the trigger."""

    min_new_rows: int
    min_gap_s: float
    failure_gap_s: float = 60.0
    """After a failed run; doubled by each further failure, up to `FAILURE_GAP_MAX_S`."""


@dataclass(frozen=True, slots=True)
class RetrainState:
    """What the decision rests on. Rows are those that pass the filter."""

    rows_passing: int
    rows_of_last_success: int
    seconds_since_last_start: float | None
    running: bool
    failures_in_a_row: int = 0

    @property
    def rows_new(self) -> int:
        return max(0, self.rows_passing - self.rows_of_last_success)


@dataclass(frozen=True, slots=True)
class RetrainDecision:
    start: bool
    why: str


def required_gap_s(limits: RetrainLimits, failures_in_a_row: int) -> float:
    """Seconds between two starts: longer after failures, so that a broken set-up is no busy loop."""
    if not failures_in_a_row:
        return limits.min_gap_s
    doubled = limits.failure_gap_s * 2.0 ** min(failures_in_a_row - 1, 16)
    return max(limits.min_gap_s, min(doubled, FAILURE_GAP_MAX_S))


def decide_retrain(limits: RetrainLimits, state: RetrainState) -> RetrainDecision:
    """Start if nothing runs, the gap has passed and enough new rows pass; else say what is missing."""
    if state.running:
        return RetrainDecision(False, "a run is under way")
    since = state.seconds_since_last_start
    gap = required_gap_s(limits, state.failures_in_a_row)
    if since is not None and since < gap:
        after = f" after {state.failures_in_a_row} failed runs" if state.failures_in_a_row else ""
        return RetrainDecision(False, f"{gap - since:.0f} s of the gap{after} are left")
    missing = limits.min_new_rows - state.rows_new
    if missing > 0:
        return RetrainDecision(False, f"{missing} more passing rows are needed")
    return RetrainDecision(True, f"{state.rows_new} new rows pass")
