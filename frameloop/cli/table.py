"""`frameloop table`: look into the table."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from frameloop.cli.common import (
    EXIT_FAILED,
    ConfigOption,
    JsonOption,
    clear_errors,
    console,
    settings_of,
)
from frameloop.core.errors import FatalError
from frameloop.core.table_health import TableFacts
from frameloop.core.upkeep import UpkeepLimits

app = typer.Typer(no_args_is_help=True, help="Look into the table of screenshots.")

HEAD_HIDDEN = ("image", "ledger")
HEAD_ROWS_MAX = 1000
CELL_CHARS_MAX = 300


def _open(config: Path | None) -> Any:
    import lance

    uri = settings_of(config).table_uri
    try:
        return lance.dataset(uri)
    except ValueError:
        raise FatalError(f"there is no table at {uri} yet; `frameloop up` makes it") from None


@app.command()
@clear_errors
def info(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Version, rows, fragments, size and columns."""
    from frameloop.adapters.lance_table import count_screenshots

    dataset = _open(config)
    fragments = dataset.get_fragments()
    size = sum(f.file_size_bytes or 0 for each in fragments for f in each.data_files())
    found = {
        "uri": dataset.uri,
        "version": int(dataset.version),
        "rows": count_screenshots(dataset),
        "fragments": len(fragments),
        "data_bytes": size,
        "columns": {field.name: str(field.type) for field in dataset.schema},
    }
    if as_json:
        print(json.dumps(found, indent=2))
        return
    for name, value in found.items():
        if name != "columns":
            console.print(f"{name:<12} {value}", highlight=False, soft_wrap=True)
    for name, kind in found["columns"].items():
        console.print(f"  {name:<18} {kind}", highlight=False, soft_wrap=True)


@app.command()
@clear_errors
def head(
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, max=HEAD_ROWS_MAX)] = 5,
    row_filter: Annotated[
        str | None, typer.Option("--filter", help="SQL, e.g. `score1 >= 60`.", show_default=False)
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show some rows, without their images."""
    from schemas.table import ROWS_FILTER

    dataset = _open(config)
    columns = [name for name in dataset.schema.names if name not in HEAD_HIDDEN]
    wanted = ROWS_FILTER + (f" AND ({row_filter})" if row_filter else "")
    try:
        found = dataset.to_table(columns=columns, filter=wanted, limit=rows).to_pylist()
    except (ValueError, OSError) as error:
        raise FatalError(f"--filter: {str(error).split(', /')[0]}") from None
    if as_json:
        print(json.dumps(found, indent=2, default=str))
        return
    for row in found:
        console.print(f"[bold]{row['id']}[/]", highlight=False)
        for name, value in row.items():
            if name != "id" and value is not None:
                text = str(value)[:CELL_CHARS_MAX]
                console.print(f"  {name:<15} {text}", highlight=False, markup=False, soft_wrap=True)
    if not found:
        console.print("no rows")


@app.command("export-image")
@clear_errors
def export_image(
    row_id: Annotated[str, typer.Argument(help="The row's `id`, or the event's `event_id`.")],
    to: Annotated[Path, typer.Argument(help="File to write, or a folder that is there.")],
    config: ConfigOption = None,
) -> None:
    """Write one image to a file, byte for byte as it was fetched."""
    dataset = _open(config)
    quoted = row_id.replace("'", "''")
    found = dataset.to_table(
        columns=["id", "image", "format"], filter=f"id = '{quoted}' OR event_id = '{quoted}'"
    ).to_pylist()
    images = [row for row in found if row["image"] is not None]
    if not images:
        raise FatalError(f"no row has the id or event_id {row_id}")
    if len(images) > 1:
        ids = ", ".join(row["id"] for row in images[:5])
        raise FatalError(f"{len(images)} rows have the event_id {row_id}: name one by id: {ids}")
    name = f"{images[0]['id']}.{images[0]['format'].lower()}"
    path = to / name if to.is_dir() else to
    path.write_bytes(images[0]["image"])
    console.print(f"{path}: {len(images[0]['image'])} bytes", highlight=False, soft_wrap=True)


@app.command()
@clear_errors
def health(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Fragments, versions, files: what there is, and whether it keeps within its bounds.

    Exit status 1 if a bound is broken.
    """
    from consumers.upkeep_work import UpkeepWork
    from frameloop.core.table_health import judge

    dataset = _open(config)
    work = UpkeepWork(settings_of(config))
    facts = work.look()
    verdicts = judge(facts, work.bounds)
    broken = [verdict for verdict in verdicts if not verdict.is_kept]
    if as_json:
        found = {
            "uri": dataset.uri,
            **asdict(facts),
            "bounds": [{**asdict(v), "is_kept": v.is_kept} for v in verdicts],
        }
        print(json.dumps(found, indent=2))
    else:
        for line in _health_lines(facts, work.bounds.limits):
            console.print(line, highlight=False, soft_wrap=True)
        for each in verdicts:
            mark = "[green]ok  [/]" if each.is_kept else "[red]high[/]"
            text = f"{mark} {each.what}: {each.value:g}, at most {each.bound:g}"
            console.print(text if each.is_kept else f"{text}\n     {each.advice}", highlight=False)
    if broken:
        raise typer.Exit(EXIT_FAILED)


def _health_lines(facts: TableFacts, limits: UpkeepLimits) -> list[str]:
    sizes = ", ".join(
        f"{count} up to {limits.full_bytes / limits.fan_in ** (tier - 1):,.0f} bytes"
        for tier, count in facts.small.items()
    )
    index = "none" if facts.rows_unindexed is None else f"{facts.rows_unindexed} rows not in it"
    tags = ", ".join(f"{tag.name} (version {tag.version})" for tag in facts.tags)
    return [
        f"rows          {facts.rows}, {facts.size} bytes",
        f"fragments     {facts.fragments}: {facts.full} full, {facts.unlabelled} unlabelled, "
        f"{facts.small_count} small" + (f" ({sizes})" if sizes else ""),
        f"versions      {facts.versions}, the latest {facts.version}",
        f"files         {facts.files}; {facts.unnamed_count} data files of "
        f"{facts.unnamed_size} bytes that no version names",
        f"tags          {tags or 'none'}",
        f"index on id   {index}",
        f"opened in     {facts.open_seconds * 1000:.0f} ms",
    ]
