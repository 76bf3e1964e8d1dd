"""Subcommands of `frameloop`, put together."""

from typing import Annotated

import typer

from frameloop import __version__
from frameloop.cli import dead_letters, demo, label, produce, settings, status, table, train, up

app = typer.Typer(
    name="frameloop",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help="Event-driven labelling of game screenshots: image-URL events from Kafka become rows of a "
    "Lance table, are scored on Ray Serve, and retrain a vision-language model.\n\n"
    "Settings come from a TOML file and from `FRAMELOOP_*` variables; `frameloop settings` lists "
    "them. `frameloop demo` shows the whole loop on real games.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"frameloop {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options that come before the subcommand."""


app.command("up")(up.up)
app.command("status")(status.status)
app.command("label")(label.label)
app.command("produce")(produce.produce)
app.command("train")(train.train)
app.command("demo")(demo.demo)
app.command("settings")(settings.settings)
app.add_typer(table.app, name="table")
app.add_typer(dead_letters.app, name="dead-letters")
