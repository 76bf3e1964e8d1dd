"""`frameloop status`: lag, rows, labels, dead letters and runs."""

import json
from typing import Any

from rich.table import Table

from frameloop.cli.common import ConfigOption, JsonOption, clear_errors, console, settings_of


@clear_errors
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show where the service stands, from the table and Kafka themselves.

    Works whether or not the service runs.
    """
    settings = settings_of(config)
    from frameloop.status import collect_status

    found = collect_status(settings)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    _print_section("table", found["table"])
    _print_section("kafka", found["kafka"])
    if found["runs"]:
        _print_runs(found["runs"])
    else:
        console.print("runs: none yet")


def _print_section(title: str, values: dict[str, Any]) -> None:
    console.print(f"[bold]{title}[/]")
    for name, value in values.items():
        shown = value
        if isinstance(value, dict):
            total = sum(value.values())
            shown = f"{total} ({', '.join(f'{k}: {v}' for k, v in value.items())})"
        style = "red" if name == "error" else None
        console.print(f"  {name:<20} {shown}", style=style, highlight=False, soft_wrap=True)


def _print_runs(runs: list[dict[str, Any]]) -> None:
    table = Table("status", "version", "rows", "loss", "seconds")
    table.add_column("run, model or error", overflow="fold")
    for run in runs:
        loss = "" if run["loss_final"] is None else f"{run['loss_final']:.4f}"
        seconds = "" if run["seconds"] is None else f"{run['seconds']:.0f}"
        table.add_row(
            run["status"],
            str(run["table_version"]),
            str(run["rows"]),
            loss,
            seconds,
            f"{run['run_id']}\n{run['error'] or run['output_dir'] + '/model'}",
        )
    console.print(table)
