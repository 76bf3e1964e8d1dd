"""Options are checked at once; a wrong one is named, a key never shown."""

from pathlib import Path
from typing import Any

import pytest

from frameloop.core.errors import SettingsError
from serve_apps.caption import CaptionOptions, CaptionScorer
from serve_apps.judge import JudgeOptions, JudgeScorer
from serve_apps.vlm_options import VlmOptions, read_options
from serve_apps.vlm_version import NOT_OF_THE_ANSWER

NEEDED: dict[str, Any] = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"base_url": "ftp://host/v1"}, "base_url"),
        ({"base_url": "host:8000"}, "base_url"),
        ({"base_url": "http://[::1/v1"}, "base_url"),
        ({"base_url": "https://user:hidden@host/v1"}, "base_url"),
        ({"base_url": "https://host/v1?key=hidden"}, "base_url"),
        ({"model": ""}, "model"),
        ({"api_key": "hidden"}, "api_key: there is no such option"),
        ({"api_key_env": "A", "api_key_file": "hidden"}, "api_key_env and api_key_file"),
        ({"prompt": "a", "prompt_file": "b"}, "prompt and prompt_file"),
        ({"concurrency": 0}, "concurrency"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"temperature": "hidden"}, "temperature"),
        ({"extra_body": {"messages": []}}, "extra_body: must not set messages"),
        ({"extra_body": "hidden"}, "extra_body"),
        ({"response_format": "xml"}, "response_format"),
        ({"image_side_max": 1}, "image_side_max"),
    ],
)
def test_a_wrong_option_is_named_without_its_value(options: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match="judge: ") as raised:
        JudgeScorer(**{**NEEDED, **options})
    assert named in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match=r"caption: base_url(.|\n)*caption: model"):
        CaptionScorer()


def test_the_key_is_read_from_where_the_options_say(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_KEY", " abc ")
    (tmp_path / "key").write_text("def\n")
    for options, key in (
        ({"api_key_env": "MY_KEY"}, "abc"),
        ({"api_key_file": tmp_path / "key"}, "def"),
    ):
        read = read_options(VlmOptions, "judge", {**NEEDED, **options}).key()
        assert read is not None
        assert read.get_secret_value() == key
    assert read_options(VlmOptions, "judge", NEEDED).key() is None


@pytest.mark.parametrize("content", ["", "\n", "hid\nden", "hiddén", "a" * 5000])
def test_a_key_that_can_not_be_one_is_refused_unseen(content: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match="api_key_file") as raised:
        JudgeScorer(**NEEDED, api_key_file=tmp_path / "key")
    assert "hid" not in str(raised.value)


def test_a_key_or_prompt_that_is_not_there_is_named(tmp_path: Path) -> None:
    for options, named in (
        ({"api_key_env": "THERE_IS_NO_SUCH_VARIABLE"}, "api_key_env"),
        ({"api_key_file": tmp_path / "none"}, "api_key_file"),
        ({"prompt_file": tmp_path / "none"}, "prompt_file"),
        ({"prompt": "  "}, "prompt"),
        ({"prompt": "Look: <image>"}, "prompt"),
    ):
        with pytest.raises(SettingsError, match=named):
            JudgeScorer(**NEEDED, **options)


CHANGED: dict[str, Any] = {
    "base_url": "https://other/v1",
    "model": "other",
    "api_key_env": "PATH",
    "api_key_file": Path(__file__),
    "prompt": "Other words.",
    "temperature": 0.5,
    "max_tokens": 99,
    "seed": 1,
    "image_side_max": 512,
    "image_detail": "low",
    "extra_body": {"top_k": 1},
    "concurrency": 3,
    "requests_per_minute": 60,
    "tokens_per_minute": 1000,
    "timeout_s": 9,
    "retries": 1,
    "backoff_base_s": 3,
    "backoff_max_s": 9,
    "price_prompt_per_million": 1,
    "price_completion_per_million": 1,
    "response_format": "none",
    "caption_chars_max": 99,
}


@pytest.mark.parametrize("scorer", [JudgeScorer, CaptionScorer])
def test_the_version_changes_with_whatever_can_change_an_answer_and_with_nothing_else(
    scorer: type[JudgeScorer] | type[CaptionScorer],
    tmp_path: Path,
) -> None:
    model = {JudgeScorer: JudgeOptions, CaptionScorer: CaptionOptions}[scorer]
    (tmp_path / "key").write_text("abc")
    (tmp_path / "prompt").write_text("Words of a file.")
    plain = scorer(**NEEDED).version
    assert scorer(**NEEDED).version == plain
    for name in model.model_fields:
        value = CHANGED.get(name, tmp_path / "prompt")
        value = tmp_path / "key" if name == "api_key_file" else value
        changed = scorer(**{**NEEDED, name: value}).version
        is_of_the_answer = name not in NOT_OF_THE_ANSWER or name in ("prompt", "prompt_file")
        assert (changed != plain) == is_of_the_answer, name


def test_a_prompt_counts_by_its_text_not_by_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "prompt").write_text("Words.\n")
    from_file = JudgeScorer(**NEEDED, prompt_file=tmp_path / "prompt")
    assert from_file.version == JudgeScorer(**NEEDED, prompt="Words.").version
