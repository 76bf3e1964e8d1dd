"""`frameloop produce`: send events for a list of image URLs."""

from pathlib import Path
from typing import Annotated

import typer

from frameloop.cli.common import ConfigOption, clear_errors, console, errors, settings_of
from frameloop.core.errors import FatalError, SettingsError

PROGRESS_EVENTS = 1000
PROBLEMS_SHOWN = 20


def _mapping(pairs: list[str]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        field, equals, column = pair.partition("=")
        if not (field and equals and column):
            raise SettingsError(f"--column: {pair!r} is not FIELD=COLUMN")
        mapping[field] = column
    return mapping


@clear_errors
def produce(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSONL or Parquet.", exists=True)],
    source: Annotated[
        str | None, typer.Option(help="CloudEvents source of rows that name none.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=COLUMN, where the column has another name; may be repeated."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Send one event for each row of a list of image URLs.

    Needs a column `image_url` (or `url`); `event_id`, `source`, `caption` and `captured_at` are used
    where they are there, other columns become attributes. A row that is no event is reported with
    its line and left out; the exit status is 1 then. Sending a list twice makes the same event ids.
    """
    settings = settings_of(config)
    from producers.emit import EventEmitter
    from producers.url_list import ListError, RowProblem, read_url_list

    problems = 0
    try:
        with EventEmitter.connect(settings.kafka) as emitter:
            for each in read_url_list(file, source=source, columns=_mapping(column or [])):
                if isinstance(each, RowProblem):
                    problems += 1
                    if problems <= PROBLEMS_SHOWN:
                        errors.print(f"{file}: {each}", highlight=False, markup=False)
                    continue
                emitter.send(each)
                if emitter.counts.handed_over % PROGRESS_EVENTS == 0:
                    console.print(f"{emitter.counts.confirmed} events sent", highlight=False)
    except ListError as error:
        raise FatalError(str(error)) from None
    console.print(
        f"{emitter.counts.confirmed} events sent to {settings.kafka.topic}, {problems} rows left out",
        highlight=False,
    )
    if problems:
        raise typer.Exit(1)
