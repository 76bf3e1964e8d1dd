"""`frameloop dead-letters`: what could not become a row."""

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from frameloop.cli.common import ConfigOption, JsonOption, clear_errors, console, settings_of
from schemas.dead_letter import DeadLetter, Reason

app = typer.Typer(no_args_is_help=True, help="Look at events that could not become rows.")


@app.callback()
def group() -> None:
    """Room for more subcommands."""


@app.command("list")
@clear_errors
def list_letters(
    reason: Annotated[
        Reason | None, typer.Option(help="Only those with this reason.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest so many.")] = 50,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, the newest last, and count them by reason."""
    settings = settings_of(config)
    from frameloop.adapters.dead_letter_reader import read_dead_letters

    found = [x for x in read_dead_letters(settings.kafka) if reason is None or x.reason == reason]
    if as_json:
        for letter in found[-limit:]:
            print(letter.model_dump_json())
        return
    table = Table("when", "reason", "event", "detail")
    for letter in found[-limit:]:
        table.add_row(_when(letter), letter.reason.value, _event(letter), letter.detail)
    console.print(table)
    counts = Counter(letter.reason.value for letter in found)
    console.print(f"{len(found)} dead letters", *(f"{k}: {v}" for k, v in counts.most_common()))


def _when(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.failed_at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _event(letter: DeadLetter) -> str:
    return letter.event_id or f"{letter.topic}-{letter.partition}@{letter.offset}"
