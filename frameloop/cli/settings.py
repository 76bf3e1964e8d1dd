"""`frameloop settings`: the settings in force, and `docs/settings.md`."""

from typing import Annotated

import typer

from frameloop.cli.common import ConfigOption, clear_errors, settings_of
from frameloop.runtime.settings_docs import settings_markdown


@clear_errors
def settings(
    config: ConfigOption = None,
    docs: Annotated[bool, typer.Option("--docs", help="Print docs/settings.md instead.")] = False,
) -> None:
    """Check the settings and print those in force as JSON; secrets are not shown."""
    if docs:
        print(settings_markdown(), end="")
        return
    print(settings_of(config).model_dump_json(indent=2))
