"""Panels in the one style of the dashboard, and the PromQL that recurs in them."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import heatmap, stat, timeseries
from grafana_foundation_sdk.builders.common import VizLegendOptions, VizTooltipOptions
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.builders.heatmap import HeatmapColorOptions
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, Threshold, ThresholdsMode
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE_VARIABLE = "datasource"
DATASOURCE = DataSourceRef(type_val="prometheus", uid=f"${{{DATASOURCE_VARIABLE}}}")
HEIGHT = 8
STAT_HEIGHT = 4
SHOWN_CALCULATIONS = ["lastNotNull", "max"]


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL and how its series are called, e.g. `{{outcome}}`."""

    expr: str
    legend: str = ""


def rate(counter: str, by: str = "") -> str:
    """Per second, summed over processes; `by` keeps these labels apart."""
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({counter}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', labels)})"


def mean(histogram: str) -> str:
    return f"{rate(f'{histogram}_sum')} / {rate(f'{histogram}_count')}"


def percentiles(
    histogram: str, by: str = "", shares: Sequence[float] = (0.5, 0.99)
) -> tuple[Query, ...]:
    suffix = f" {{{{{by}}}}}" if by else ""
    return tuple(Query(quantile(s, histogram, by), f"p{round(s * 100)}{suffix}") for s in shares)


def graph(
    title: str, *queries: Query, unit: str = "short", span: int = 8, description: str = ""
) -> timeseries.Panel:
    """Lines over time, with last value and maximum in the legend."""
    legend = (
        VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(SHOWN_CALCULATIONS)
    )
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .height(HEIGHT)
        .span(span)
        .legend(legend)
        .tooltip(VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .fill_opacity(8)
        .show_points(VisibilityMode.NEVER)
    )
    for index, query in enumerate(queries):
        panel = panel.with_target(_target(query, index))
    return panel


def number(
    title: str, query: Query, *, unit: str = "short", warn_at: float | None = None
) -> stat.Panel:
    """One figure of the overview; red from `warn_at` on."""
    steps = [Threshold(value=None, color="green")]
    if warn_at is not None:
        steps.append(Threshold(value=warn_at, color="red"))
    return (
        stat.Panel()
        .title(title)
        .datasource(DATASOURCE)
        .unit(unit)
        .no_value("-")
        .height(STAT_HEIGHT)
        .span(4)
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .with_target(_target(query, 0))
    )


def heat(title: str, query: Query, *, span: int = 8, description: str = "") -> heatmap.Panel:
    """A histogram over time: its buckets are the rows."""
    color = HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Viridis").steps(64)
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .height(HEIGHT)
        .span(span)
        .calculate(False)
        .color(color)
        .with_target(_target(query, 0).format(PromQueryFormat.HEATMAP))
    )


def _target(query: Query, index: int) -> Dataquery:
    target = Dataquery().datasource(DATASOURCE).expr(query.expr).ref_id(chr(ord("A") + index))
    return target.range().legend_format(query.legend or "__auto")
