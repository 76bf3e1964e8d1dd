"""`frameloop label`: how far each label is, and rows labelled again."""

import json
from typing import Annotated, Any

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from frameloop.cli.common import (
    ConfigOption,
    JsonOption,
    clear_errors,
    console,
    settings_of,
)
from frameloop.core.errors import FatalError, FrameloopError, SettingsError
from frameloop.runtime.settings import Settings

WATCH_SECONDS = 1.0


@clear_errors
def label(
    names: Annotated[
        list[str] | None, typer.Argument(help="Labels; all of them if none is named.")
    ] = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Score rows again that another version has scored.")
    ] = False,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Score rows again that got an error.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show progress until every fragment is labelled.")
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far each label is, from the table itself; or have rows labelled again.

    `--stale` and `--retry-errors` need the service to run. They may be broken off: what is done stays,
    and the same command goes on with the rest.
    """
    settings = settings_of(config)
    wanted = names or list(settings.labels)
    if unknown := [name for name in wanted if name not in settings.labels]:
        raise SettingsError(f"there is no label {unknown[0]}; labels: {', '.join(settings.labels)}")
    if stale + retry_errors + watch > 1:
        raise SettingsError("choose one of --stale, --retry-errors and --watch")
    if stale or retry_errors:
        _again(settings, wanted, stale)
    elif watch:
        _watch(settings, wanted)
    else:
        _show(settings, wanted, as_json)


def _show(settings: Settings, labels: list[str], as_json: bool) -> None:
    from frameloop.status import label_status

    found = label_status(settings, labels)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("label", "scorer", "rows", "labelled", "errors", "by scorer version")
    for name, each in found.items():
        versions = ", ".join(f"{scorer}: {rows}" for scorer, rows in each["by"].items())
        counts = [str(each[key]) for key in ("rows", "labelled", "errors")]
        table.add_row(name, settings.labels[name].scorer, *counts, versions)
    console.print(table)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def _watch(settings: Settings, labels: list[str]) -> None:
    import time

    from frameloop.status import rows_to_label

    with _progress() as progress:
        bars = {name: progress.add_task(name) for name in labels}
        while True:
            rows, left = rows_to_label(settings)
            for name, bar in bars.items():
                progress.update(bar, total=rows, completed=rows - left[name])
            if not any(left[name] for name in labels):
                return
            time.sleep(WATCH_SECONDS)


def _again(settings: Settings, labels: list[str], stale: bool) -> None:
    from frameloop.relabel import Relabelling, Which  # Ray takes seconds to import

    work = Relabelling(settings)
    plan = work.plan(labels, Which.STALE if stale else Which.FAILED)
    if not plan:
        console.print("nothing to do: " + ("no label is out of date" if stale else "no errors"))
        return
    errors: list[FrameloopError] = []
    with _progress() as progress:
        bars: dict[str, Any] = {
            name: progress.add_task(name, total=sum(p.rows for p in plan if p.task.label == name))
            for name in labels
        }
        for piece, outcome in work.run(plan):
            if isinstance(outcome, FrameloopError):
                errors.append(outcome)
            else:
                progress.advance(bars[piece.task.label], piece.rows)
    if errors:
        raise FatalError(
            f"{len(errors)} of {len(plan)} fragments failed, e.g.: {errors[0]}; run it again"
        )
