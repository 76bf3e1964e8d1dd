"""What the subcommands share: settings from the command line, errors as one clear line."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from frameloop.core.errors import FrameloopError, SettingsError
from frameloop.runtime.settings import Settings, load_settings

EXIT_FAILED = 1
EXIT_USAGE = 2

console = Console()
errors = Console(stderr=True)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="Settings file (TOML). Default: $FRAMELOOP_CONFIG, else frameloop.toml, if there.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]

Command = TypeVar("Command", bound=Callable[..., Any])


def clear_errors(command: Command) -> Command:
    """An error of ours is a line on standard error and an exit status, not a traceback."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except SettingsError as error:
            errors.print(f"[red]settings:[/] {escape(str(error))}", highlight=False)
            raise typer.Exit(EXIT_USAGE) from None
        except FrameloopError as error:
            errors.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
            raise typer.Exit(EXIT_FAILED) from None
        except KeyboardInterrupt:
            errors.print("stopped")
            sys.exit(130)

    return wrapped  # type: ignore[return-value]


def settings_of(config: Path | None) -> Settings:
    return load_settings(config)
