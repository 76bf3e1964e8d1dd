"""The loss over the steps of one training run, as a picture."""

import io
import math
from collections.abc import Sequence
from typing import Any

from frameloop.core.errors import SettingsError

SIZE_INCHES, DOTS_PER_INCH = (9.0, 4.8), 120
SMOOTHING = 0.6
SMOOTHED_FROM = 8
RAW_COLOUR, SMOOTH_COLOUR = "#9db8d9", "#1f5fa8"


def plot_loss_curve(points: Sequence[tuple[int, float]], title: str = "Training loss") -> bytes:
    """A PNG of the points (step, loss), and from eight on also of their moving average.

    A loss that is not finite is left out, and the picture says how many. Raises `ValueError` when
    no point is left, `SettingsError` when the extra `plots` is missing.
    """
    shown = sorted((step, loss) for step, loss in points if math.isfinite(loss))
    if not shown:
        raise ValueError("a loss curve needs at least one finite loss")
    left_out = len(points) - len(shown)
    figure, axes = _make_figure()
    axes.set_title(f"{title} ({left_out} not finite)" if left_out else title, loc="left")
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    _draw_losses(axes, [step for step, _ in shown], [loss for _, loss in shown])
    packed = io.BytesIO()
    figure.savefig(packed, format="png", metadata={"Software": None})
    return packed.getvalue()


def _make_figure() -> tuple[Any, Any]:
    """Figure and axes, without a window and without pyplot and its global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise SettingsError(
            f"matplotlib can't be imported ({error}); "
            "install the extra: pip install 'frameloop[plots]'"
        ) from None
    figure = Figure(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.04)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _draw_losses(axes: Any, steps: Sequence[int], losses: Sequence[float]) -> None:
    smoothed = len(losses) >= SMOOTHED_FROM
    colour = RAW_COLOUR if smoothed else SMOOTH_COLOUR
    axes.plot(steps, losses, color=colour, linewidth=1.4, marker="o", markersize=3, label="loss")
    if smoothed:
        average = _moving_average(losses)
        axes.plot(steps, average, color=SMOOTH_COLOUR, linewidth=2.2, label="moving average")
        axes.legend(frameon=False)
    axes.annotate(
        f"{losses[-1]:.3g}",
        (steps[-1], losses[-1]),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=SMOOTH_COLOUR,
    )
    axes.set_ylim(bottom=min(0.0, *losses))


def _moving_average(losses: Sequence[float]) -> list[float]:
    """Exponential, from the first loss on."""
    average, result = losses[0], []
    for loss in losses:
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        result.append(average)
    return result
