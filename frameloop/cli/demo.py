"""`frameloop demo`: the whole loop on real games."""

from pathlib import Path
from typing import Annotated

import typer

from frameloop.cli.common import EXIT_FAILED, clear_errors, console

FRAMES_MAX = 20_000


@clear_errors
def demo(
    frames: Annotated[int, typer.Option(min=100, max=FRAMES_MAX, help="Events to send.")] = 2000,
    out: Annotated[Path, typer.Option(help="Folder for everything that it writes.")] = Path(
        "demo-out"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of the games.")] = 0,
    environment: Annotated[
        Path, typer.Option(help="Virtual environment that holds LLaMA-Factory.")
    ] = Path(".venv-training"),
) -> None:
    """Play games headless, ingest, score and train on their frames; report what happened.

    Ends with an error if any event is unaccounted for or a stage did nothing.
    """
    from frameloop.demo.run import run_demo

    if not run_demo(console, out, frames, seed, environment):
        raise typer.Exit(EXIT_FAILED)
