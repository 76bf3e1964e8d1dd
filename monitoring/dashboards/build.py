"""The Grafana dashboard, made from code: `python -m monitoring.dashboards.build` writes the JSON.

Grafana loads `frameloop.json`; change `rows.py`, never that one. A test keeps the two equal and
checks that each metric named there is one that the service has.
"""

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync

from monitoring.dashboards.panels import DATASOURCE_VARIABLE
from monitoring.dashboards.rows import ROWS

JSON_PATH = Path(__file__).with_name("frameloop.json")


def build() -> dict[str, Any]:
    """The dashboard as Grafana's JSON model."""
    board = (
        Dashboard("frameloop")
        .uid("frameloop")
        .description("Events in, rows, labels and trained models out.")
        .tags(["frameloop"])
        .timezone("browser")
        .refresh("10s")
        .time("now-30m", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(
            DatasourceVariable(DATASOURCE_VARIABLE).label("Data source").type("prometheus")
        )
    )
    for title, panels in ROWS.items():
        board = board.with_row(Row(title))
        for panel in panels:
            board = board.with_panel(panel)
    model = board.build()
    for number, panel_model in enumerate(model.panels or [], start=1):
        panel_model.id_val = number
    plain: dict[str, Any] = json.loads(json.dumps(model, cls=JSONEncoder))
    return plain


def file_text() -> str:
    return json.dumps(build(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    JSON_PATH.write_text(file_text(), encoding="utf-8")
