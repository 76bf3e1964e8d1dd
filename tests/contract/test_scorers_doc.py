"""docs/scorers.md names each option as it is, and what it shows works."""

import io
import re
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from frameloop.runtime.label_settings import SCORER_TYPES, LabelSettings
from frameloop.runtime.settings import Settings
from serve_apps.caption import CaptionOptions, CaptionScorer
from serve_apps.contract import Scorer
from serve_apps.fragment_scoring import BATCH_ROWS
from serve_apps.judge import JudgeOptions, JudgeScorer
from serve_apps.registry import factory_of
from serve_apps.vlm_answer import REASON_CHARS_MAX
from serve_apps.vlm_batch import KEPT_ROWS_MAX, KEPT_S

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scorers.md").read_text(encoding="utf-8")
FIELDS = {**JudgeOptions.model_fields, **CaptionOptions.model_fields}
ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\|", re.MULTILINE)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def options_table() -> dict[str, str]:
    _, _, after = PAGE.partition("| option | default | |")
    return {name: default.strip() for name, default in ROW.findall(after.partition("\n\n")[0])}


def test_each_option_is_named_once_and_no_other() -> None:
    assert list(options_table()) == list(dict.fromkeys(FIELDS))


@pytest.mark.parametrize("name", FIELDS)
def test_the_default_of_an_option_is_the_one_in_force(name: str) -> None:
    field = FIELDS[name]
    shown: Any = options_table()[name]
    if field.is_required():
        assert shown == "required"
    elif name == "prompt":
        assert shown == "shipped"
    else:
        default = field.get_default(call_default_factory=True)
        assert shown == ("" if default in (None, {}) else f"{default}")


def test_options_of_one_scorer_only_say_so() -> None:
    for name in FIELDS:
        (line,) = re.findall(rf"^\| `{name}` \|.*$", PAGE, re.MULTILINE)
        for scorer, model in (("judge", JudgeOptions), ("caption", CaptionOptions)):
            others = "caption" if scorer == "judge" else "judge"
            assert (name in model.model_fields) != (f"`{others}` only" in line)


def test_all_scorers_are_named() -> None:
    _, _, after = PAGE.partition("| scorer | gives | needs |")
    named = set(re.findall(r"^\| `(\w+)` \|", after.partition("\n\n")[0], re.MULTILINE))
    assert named == set(SCORER_TYPES)


def test_numbers_of_the_page_are_those_of_the_code() -> None:
    assert f"1 to {REASON_CHARS_MAX:,} characters" in PAGE
    assert f"({KEPT_ROWS_MAX:,} images)" in PAGE
    assert KEPT_S == 3600  # "an hour"
    assert f"batches of {BATCH_ROWS}" in PAGE
    assert f"up to {BATCH_ROWS} rows" in PAGE


def test_the_settings_shown_make_the_scorers(tmp_path: Path) -> None:
    example = tomllib.loads(blocks("toml")[0])
    key = tmp_path / "key"
    key.write_text("abc")
    example["labels"]["caption"]["options"]["api_key_file"] = str(key)
    labels = Settings(**example).labels
    made = {name: factory_of(name, labels[name])() for name in ("judge", "caption")}
    assert isinstance(made["judge"], JudgeScorer)
    assert isinstance(made["caption"], CaptionScorer)


def test_the_further_fields_shown_are_taken() -> None:
    (shown,) = re.findall(r"`(extra_body = [^`]*)`", PAGE)
    options = {"base_url": "http://127.0.0.1:1/v1", "model": "m", **tomllib.loads(shown)}
    assert JudgeOptions(**options).extra_body


def test_the_scorer_shown_is_one(tmp_path: Path) -> None:
    (source,) = blocks("python")
    assert len(source.split("class ")[1].splitlines()) <= 25
    path = tmp_path / "my_scorer.py"
    path.write_text(source)
    (shown,) = tomllib.loads(blocks("toml")[1])["labels"].values()
    settings = LabelSettings(**{**shown, "scorer": f"{path}:Aspect"})
    scorer = factory_of("aspect", settings)()
    assert isinstance(scorer, Scorer)
    images = []
    for size in ((60, 30), (90, 10)):
        target = io.BytesIO()
        Image.new("RGB", size).save(target, "PNG")
        images.append(target.getvalue())
    fine, wide = scorer.score(pa.record_batch({"image": images}))
    assert (fine.value, fine.reason) == (2.0, "60x30")
    assert wide.error == "wider than 3 to 1"


def test_each_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
