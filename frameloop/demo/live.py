"""Live progress of the demo, drawn from numbers alone."""

from dataclasses import dataclass

from rich.progress_bar import ProgressBar
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at the running demo."""

    seconds: float
    events: int
    events_all: int
    covered: int
    rows: int
    dead_letters: int
    scored: int
    training: str
    step: int = 0
    steps: int = 0

    @property
    def lag(self) -> int:
        return max(0, self.events - self.covered)


def render(progress: Progress) -> Table:
    """A bar for each stage of the flow."""
    table = Table.grid(padding=(0, 2))
    table.add_row("[bold]frameloop[/]", f"{progress.seconds:.0f} s", "")
    table.add_row("events sent", *_bar(progress.events, progress.events_all))
    good = progress.events_all - progress.dead_letters
    table.add_row("in the table", *_bar(progress.rows, good), f"lag {progress.lag}")
    table.add_row("dead letters", "", str(progress.dead_letters))
    table.add_row("scored", *_bar(progress.scored, max(progress.rows, 1)))
    bar = _bar(progress.step, progress.steps) if progress.steps else ("", "")
    table.add_row("training", *bar, progress.training)
    return table


def line(progress: Progress) -> str:
    """The same in one line, for a log or a pipe."""
    steps = f" step {progress.step}/{progress.steps}" if progress.steps else ""
    return (
        f"{progress.seconds:4.0f} s  events {progress.events}/{progress.events_all}  "
        f"rows {progress.rows}  dead letters {progress.dead_letters}  scored {progress.scored}  "
        f"lag {progress.lag}  training: {progress.training}{steps}"
    )


def _bar(done: int, total: int) -> tuple[ProgressBar, str]:
    return ProgressBar(total=max(total, 1), completed=done, width=40), f"{done}/{total}"
