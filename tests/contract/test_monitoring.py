"""Dashboard, rules and scrape configuration speak of what the service has."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import pytest
import yaml
from prometheus_client import PROCESS_COLLECTOR
from prometheus_client.metrics import MetricWrapperBase

from frameloop.runtime import metrics
from monitoring.dashboards.build import JSON_PATH, file_text

FOLDER = JSON_PATH.parents[1]
RULES = FOLDER / "rules" / "frameloop.yml"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
TARGET_LABELS = {"job", "instance", "process"}
SCRAPED = {"up"}
# What Grafana puts in for its variables.
VARIABLES = {"$__rate_interval": "1m"}
PARTS = ("expr", "param", "lhs", "rhs", "vector_selector")


class Use(NamedTuple):
    """One query and where it is, for the message of a failing test."""

    where: str
    expr: str


@cache
def samples() -> dict[str, set[str]]:
    """Name of each sample that the service exports, with the labels it may have."""
    known: dict[str, set[str]] = {name: set() for name in SCRAPED}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            for suffix in SUFFIXES[family.type]:
                own = {"le"} if suffix == "_bucket" else set()
                known[family.name + suffix] = own | set(metric._labelnames)
    for family in PROCESS_COLLECTOR.collect():
        known |= {sample.name: set() for sample in family.samples}
    return known


def dashboard() -> Any:
    return json.loads(JSON_PATH.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panel_uses() -> list[Use]:
    return [
        Use(f"panel {panel['title']!r}", target["expr"])
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]


def rule_uses() -> list[Use]:
    return [Use(r.get("alert") or r["record"], r["expr"]) for r in rules()]


def parse(expr: str) -> Any:
    for variable, value in VARIABLES.items():
        expr = expr.replace(variable, value)
    return promql_parser.parse(expr)


def nodes(root: Any) -> Iterator[Any]:
    """The query's syntax tree, node by node."""
    yield root
    children = [getattr(root, part, None) for part in PARTS] + list(getattr(root, "args", ()))
    for child in children:
        if child is not None:
            yield from nodes(child)


def selectors(expr: str) -> list[Any]:
    return [n for n in nodes(parse(expr)) if isinstance(n, promql_parser.VectorSelector)]


def test_the_committed_dashboard_is_current() -> None:
    mend = "out of date: run python -m monitoring.dashboards.build"
    assert JSON_PATH.read_text(encoding="utf-8") == file_text(), mend


@pytest.mark.parametrize("use", panel_uses() + rule_uses(), ids=lambda use: use.where)
def test_every_metric_of_a_query_is_one_that_the_service_has(use: Use) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    found = selectors(use.expr)
    assert found, "a query without a metric shows nothing of the service"
    for selector in found:
        assert selector.name in samples().keys() | recorded


@pytest.mark.parametrize("use", panel_uses() + rule_uses(), ids=lambda use: use.where)
def test_every_label_of_a_query_is_one_that_its_metrics_have(use: Use) -> None:
    found = selectors(use.expr)
    known = set(TARGET_LABELS).union(*(samples().get(s.name, set()) for s in found))
    for selector in found:
        own = samples().get(selector.name, known) | TARGET_LABELS
        assert {matcher.name for matcher in selector.matchers.matchers} <= own
    for node in nodes(parse(use.expr)):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= known


def test_every_metric_of_the_service_is_shown() -> None:
    shown = {s.name for use in panel_uses() for s in selectors(use.expr)}
    families = {name.removesuffix("_bucket") for name in shown}
    unseen = [
        family.name
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
        for family in metric.describe()
        if not families & {family.name + s for s in ("", "_total", "_sum", "_count")}
    ]
    assert unseen == []


def test_an_alert_says_what_is_wrong_and_how_bad() -> None:
    for alert in (rule for rule in rules() if "alert" in rule):
        assert alert["labels"]["severity"] in {"warning", "critical"}, alert["alert"]
        assert alert["annotations"].keys() == {"summary", "description"}, alert["alert"]


def test_a_panel_reads_from_the_data_source_that_is_chosen() -> None:
    (variable,) = dashboard()["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    for panel in dashboard()["panels"]:
        for source in [panel, *panel.get("targets", [])]:
            if panel["type"] != "row":
                assert source["datasource"]["uid"] == f"${{{variable['name']}}}"


def test_prometheus_finds_the_actors_through_the_service() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = [c for c in config["scrape_configs"] if c["job_name"] == "frameloop"]
    assert [sd["url"].endswith("/sd") for sd in job["http_sd_configs"]] == [True]
    assert [(FOLDER / name).resolve() for name in config["rule_files"]] == [RULES]


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "rules/frameloop_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts_configuration_and_rules(arguments: tuple[str, ...]) -> None:
    ran = subprocess.run(
        ["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_grafana_loads_the_dashboard_from_the_prometheus_of_the_compose_file() -> None:
    folder = FOLDER / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text("utf-8"))
    provider = yaml.safe_load((folder / "dashboards" / "frameloop.yml").read_text("utf-8"))
    services = yaml.safe_load((FOLDER.parent / "docker-compose.yml").read_text("utf-8"))["services"]
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    mounted = {
        v["target"]: Path(v["source"])
        for v in services["grafana"]["volumes"]
        if v["type"] == "bind"
    }
    (where,) = [p["options"]["path"] for p in provider["providers"]]
    assert (FOLDER.parent / mounted[where]).resolve() == JSON_PATH.parent
