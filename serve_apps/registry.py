"""From a label's settings to a scorer: the service's own by name, or one Python file of yours."""

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from frameloop.core.errors import SettingsError
from frameloop.runtime.label_settings import OWN_SCORER, LabelSettings
from serve_apps.contract import Scorer

ScorerFactory = Callable[[], Scorer]

SCORERS = {
    "quality": "serve_apps.quality:QualityScorer",
    "judge": "serve_apps.judge:JudgeScorer",
    "caption": "serve_apps.caption:CaptionScorer",
    "near_duplicate": "serve_apps.near_duplicate:NearDuplicateScorer",
}
"""Imported where they run: what one scorer needs, others need not load."""

SOURCE_BYTES_MAX = 1 << 20


def factory_of(label: str, settings: LabelSettings) -> ScorerFactory:
    """Makes the label's scorer, in any process: a file of yours travels as its text.

    Raises `SettingsError` if the file can't be read or has no such class. The factory raises it if
    the scorer does not take the options, or is none by `serve_apps.contract`.
    """
    if OWN_SCORER not in settings.scorer:
        make = partial(_known, SCORERS[settings.scorer])
    else:
        path, _, name = settings.scorer.rpartition(":")
        make = partial(_own, path, _source(label, path), name)
        if not isinstance(make(), type):
            raise SettingsError(f"labels.{label}.scorer: {path} has no class {name}")
    return partial(_made, label, make, settings)


def _source(label: str, path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"labels.{label}.scorer: {path} can't be read: {error}") from None
    if len(text) > SOURCE_BYTES_MAX:
        raise SettingsError(
            f"labels.{label}.scorer: {path} is larger than {SOURCE_BYTES_MAX} bytes"
        )
    return text


def _known(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def _own(path: str, source: str, name: str) -> Any:
    """The class of that name, or None. Whatever the file raises when it is run, it is its own."""
    module = ModuleType(Path(path).stem)
    module.__file__ = path
    try:
        exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102  named in the settings
    except Exception as error:
        raise SettingsError(f"{path}: {type(error).__name__}: {error}") from error
    return getattr(module, name, None)


def _made(label: str, make: Callable[[], Any], settings: LabelSettings) -> Scorer:
    try:
        scorer = make()(**settings.options)
    except TypeError as error:
        raise SettingsError(f"labels.{label}.options: {error}") from error
    missing = [n for n in ("name", "version", "type", "inputs", "score") if not hasattr(scorer, n)]
    if missing:
        raise SettingsError(f"labels.{label}.scorer: {settings.scorer} lacks {', '.join(missing)}")
    if scorer.type != settings.value_type:
        raise SettingsError(
            f"labels.{label}.type: {settings.scorer} gives {scorer.type}, "
            f"the column is {settings.value_type}"
        )
    made: Scorer = scorer
    return made
