"""What the demo leaves behind: report, contact sheet, loss curve, and the summary on screen."""

import json
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
from rich.console import Console

from frameloop.adapters.llama_factory import loss_history
from frameloop.adapters.runs_table import load_runs
from frameloop.core.training import RunStatus
from frameloop.demo.accounting import Accounts, latencies_s, take_accounts
from frameloop.demo.config import DemoFolder
from frameloop.demo.contact_sheet import Tile, make_contact_sheet
from frameloop.demo.loss_curve import plot_loss_curve
from frameloop.runtime.settings import Settings
from schemas.commit import CommitNotice
from schemas.table import ROWS_FILTER

SHEET_FRAMES = 8
SHEET_FRAMES_A_SOURCE = 2
SHEET_NAME = "contact-sheet.png"
CURVE_NAME = "loss-curve.png"


@dataclass(frozen=True, slots=True)
class DemoReport:
    values: dict[str, Any]
    problems: list[str]


def make_report(
    settings: Settings, notices: list[CommitNotice], stages: dict[str, float]
) -> DemoReport:
    """Count everything anew from Kafka and the tables; nothing is taken from the service's word."""
    accounts = take_accounts(settings)
    dataset = lance.dataset(settings.table_uri)
    to_row, to_score = latencies_s(accounts, notices, settings.training.label)
    runs = load_runs(settings.runs_uri)
    scores = sorted(accounts.scores.values())
    values = {
        "events_sent": len(accounts.sent_at_ms),
        "rows": len(accounts.rows),
        "dead_letters": dict(Counter(accounts.letters.values()).most_common()),
        "scored": len(scores),
        "score_min": round(scores[0], 2) if scores else None,
        "score_median": round(statistics.median(scores), 2) if scores else None,
        "score_max": round(scores[-1], 2) if scores else None,
        "table_version": int(dataset.version),
        "fragments": len(dataset.get_fragments()),
        "training_runs": [
            {
                "run_id": run.run_id,
                "status": run.status.value,
                "rows": run.rows,
                "final_loss": run.loss_final,
                "table_version": run.table_version,
                "filter": run.row_filter,
                "seconds": run.seconds,
                "output_dir": run.output_dir,
                "error": run.error,
            }
            for run in runs
        ],
        "seconds_per_stage": {name: round(value, 1) for name, value in stages.items()},
        "event_to_row_s": _percentiles(to_row),
        "event_to_score_s": _percentiles(to_score),
    }
    done = [run for run in runs if run.status is RunStatus.SUCCEEDED]
    return DemoReport(values, find_idle_stages(accounts, len(done)))


def find_idle_stages(accounts: Accounts, runs_succeeded: int) -> list[str]:
    """Why the demo has failed, if it has: events unaccounted for, or a stage that did nothing."""
    problems = list(accounts.problems)
    stages = {
        "no event was sent": not accounts.sent_at_ms,
        "no row came into the table": not accounts.rows,
        "no bad event became a dead letter": not accounts.letters,
        "no row was scored": not accounts.scores,
        f"{accounts.unscored} rows have no score": accounts.unscored > 0,
        "no training run succeeded": not runs_succeeded,
    }
    return problems + [what for what, is_so in stages.items() if is_so]


def write_pictures(settings: Settings, folder: DemoFolder) -> list[Path]:
    """The contact sheet of the best and worst frames, and the newest run's loss curve."""
    label = settings.training.label
    dataset = lance.dataset(settings.table_uri)
    where = f"{ROWS_FILTER} AND {label} IS NOT NULL"
    ids = dataset.to_table(columns=["id", label], filter=where).sort_by(label)["id"].to_pylist()
    worst, best = _varied(dataset, ids), _varied(dataset, ids[::-1])
    sheet = folder.root / SHEET_NAME
    sheet.write_bytes(
        make_contact_sheet(_tiles(dataset, label, best), _tiles(dataset, label, worst))
    )
    pictures = [sheet]
    runs = load_runs(settings.runs_uri)
    history = loss_history(Path(runs[-1].output_dir)) if runs else []
    if history:
        curve = folder.root / CURVE_NAME
        curve.write_bytes(plot_loss_curve(history, f"Training loss, {runs[-1].run_id}"))
        pictures.append(curve)
    return pictures


def _varied(dataset: Any, ids: list[str]) -> list[str]:
    """The first ids, but not more than two of one play session: neighbours look alike."""
    rows = dataset.to_table(columns=["id", "source"], filter=ROWS_FILTER).to_pylist()
    source_of = {row["id"]: row["source"] for row in rows}
    taken: list[str] = []
    count: Counter[str] = Counter()
    for each in ids:
        if count[source_of[each]] < SHEET_FRAMES_A_SOURCE and len(taken) < SHEET_FRAMES:
            count[source_of[each]] += 1
            taken.append(each)
    return taken


def _tiles(dataset: Any, label: str, ids: list[str]) -> list[Tile]:
    quoted = ", ".join(f"'{each}'" for each in ids)
    rows = dataset.to_table(
        columns=["id", "image", label, "messages"], filter=f"id IN ({quoted})"
    ).to_pylist()
    by_id = {row["id"]: row for row in rows}
    return [(by_id[i]["image"], by_id[i][label], by_id[i]["messages"][-1]["content"]) for i in ids]


def _percentiles(values: list[float]) -> dict[str, float | None]:
    if len(values) < 2:
        return {"p50": None, "p99": None}
    cuts = statistics.quantiles(values, n=100)
    return {"p50": round(cuts[49], 3), "p99": round(cuts[98], 3)}


def print_summary(console: Console, report: DemoReport, folder: DemoFolder) -> None:
    values = report.values
    letters = ", ".join(f"{k} {v}" for k, v in values["dead_letters"].items()) or "none"
    row, score = values["event_to_row_s"], values["event_to_score_s"]
    console.rule("what happened")
    lines = [
        f"{values['events_sent']} events: {values['rows']} rows and "
        f"{sum(values['dead_letters'].values())} dead letters ({letters})",
        f"{values['scored']} rows scored: {values['score_min']} to {values['score_max']}, "
        f"median {values['score_median']}",
        f"event to row {row['p50']} s (p99 {row['p99']}), to score {score['p50']} s "
        f"(p99 {score['p99']})",
        f"table version {values['table_version']}, {values['fragments']} fragments",
    ]
    for run in values["training_runs"]:
        what = run["error"] or "no result yet"
        if run["final_loss"] is not None:
            what = f"final loss {run['final_loss']:.4f} in {run['seconds']:.0f} s"
        lines.append(
            f"{run['run_id']} {run['status']}: {run['rows']} rows of version "
            f"{run['table_version']}, {what}"
        )
    for text in lines:
        console.print(f"  {text}", highlight=False, soft_wrap=True)
    for name in (folder.report.name, SHEET_NAME, CURVE_NAME):
        console.print(f"  {folder.root / name}", highlight=False, soft_wrap=True)
    for problem in report.problems:
        console.print(f"  [red]problem:[/] {problem}", highlight=False, soft_wrap=True)


def write_report(folder: DemoFolder, report: DemoReport) -> None:
    values = {**report.values, "problems": report.problems}
    text = json.dumps(values, indent=2)
    folder.report.write_text(text + "\n", encoding="utf-8")
