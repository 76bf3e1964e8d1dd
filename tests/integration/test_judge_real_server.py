"""Judge and captioner against LLaMA-Factory's own server and a model that it has trained."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from prometheus_client import REGISTRY

from frameloop.core.errors import FatalError
from schemas.table import MESSAGES, USER_PROMPT, Label
from serve_apps.caption import CaptionScorer
from serve_apps.fragment_scoring import FragmentRequest, score_fragment
from serve_apps.judge import JudgeScorer
from serve_apps.table_cache import TableCache
from tests.trained_vlm import (
    CAPTION_PROMPT,
    CAPTIONS,
    CHAT,
    CHAT_PROMPT,
    JUDGE_PROMPT,
    KEY,
    SCORES,
    TRAINING,
    frame,
    make_model,
    serve,
)

SEEN = range(1000, 1004)
"""Seeds of pictures that the model was not trained on."""
QUESTION = {"role": "user", "content": USER_PROMPT}


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a scorer needs to ask the server."""
    if not TRAINING.exists():
        pytest.fail("the training environment is missing: run `make setup`")
    folder = tmp_path_factory.mktemp("trained-vlm")
    key = folder / "key"
    key.write_text(KEY)
    with serve(make_model(folder), folder) as url:
        yield {"base_url": url, "model": "tiny", "max_tokens": 64, "api_key_file": key}


def batch(images: list[bytes]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(images, pa.large_binary())], ["image"])


def tokens(kind: str) -> float:
    labels = {"scorer": "judge", "model": "tiny", "kind": kind}
    return REGISTRY.get_sample_value("frameloop_vlm_tokens_total", labels) or 0


@pytest.mark.parametrize("response_format", ["json_schema", "json_object", "none"])
def test_the_score_is_what_the_model_says_of_the_picture(
    options: dict[str, Any], response_format: str
) -> None:
    judge = JudgeScorer(**options, prompt=JUDGE_PROMPT, response_format=response_format)
    rows = [(seed, dark) for seed in SEEN for dark in (True, False)]
    scores = judge.score(batch([frame(seed, dark) for seed, dark in rows]))
    assert [(s.value, s.reason) for s in scores] == [SCORES[dark] for _, dark in rows]
    judge.close()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP"])
def test_pictures_of_all_formats_arrive(options: dict[str, Any], kind: str) -> None:
    judge = JudgeScorer(**options, prompt=JUDGE_PROMPT)
    scores = judge.score(batch([frame(1, dark, kind) for dark in (True, False)]))
    assert [s.value for s in scores] == [12, 95], scores
    judge.close()


def test_tokens_are_counted_as_the_server_says(options: dict[str, Any]) -> None:
    before = tokens("prompt"), tokens("completion")
    judge = JudgeScorer(**options, prompt=JUDGE_PROMPT)
    judge.score(batch([frame(seed, True) for seed in SEEN]))
    asked, answered = tokens("prompt") - before[0], tokens("completion") - before[1]
    # The same prompt and as many image tokens each time.
    assert asked % len(SEEN) == answered % len(SEEN) == 0
    assert asked > 20 * len(SEEN)
    assert 5 * len(SEEN) < answered < 64 * len(SEEN)
    judge.close()


def test_an_answer_in_prose_is_an_error_and_no_score(options: dict[str, Any]) -> None:
    judge = JudgeScorer(**options, prompt=CHAT_PROMPT)
    scores = judge.score(batch([frame(seed, True) for seed in SEEN]))
    assert [s.value for s in scores] == [None] * len(SEEN)
    assert {s.error for s in scores} == {f"the answer is no JSON object: {CHAT!r}"}
    judge.close()


def test_an_answer_that_is_cut_off_is_an_error_and_no_score(options: dict[str, Any]) -> None:
    judge = JudgeScorer(**{**options, "max_tokens": 4}, prompt=JUDGE_PROMPT)
    (score,) = judge.score(batch([frame(1, True)]))
    assert (score.value, score.error) == (None, "the answer was cut off at max_tokens")
    judge.close()


def test_a_picture_that_the_server_fails_on_is_an_error_on_its_row_alone(
    options: dict[str, Any],
) -> None:
    """Its header is fine, so it is sent; the server can't decode it and answers HTTP 500."""
    # The server closes the connection after that, perhaps under an attempt that comes at once.
    judge = JudgeScorer(**options, prompt=JUDGE_PROMPT, retries=1, backoff_base_s=1)
    good, bad = judge.score(batch([frame(1, True), frame(2, True, "PNG")[:200]]))
    assert good.value == 12
    assert "HTTP 500" in str(bad.error)
    judge.close()


def test_a_wrong_key_marks_no_row(options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("another")
    judge = JudgeScorer(**{**options, "api_key_file": tmp_path / "key"}, prompt=JUDGE_PROMPT)
    with pytest.raises(FatalError, match="HTTP 401"):
        judge.score(batch([frame(1, True)]))
    judge.close()


def test_captions_are_written_for_rows_that_came_without_one(
    options: dict[str, Any], tmp_path: Path
) -> None:
    given = [QUESTION, {"role": "assistant", "content": "Upstream's own."}]
    rows = {
        "id": pa.array(["dark", "bright", "captioned"]),
        "image": pa.array([frame(5, True), frame(6, False), frame(7, True)], pa.large_binary()),
        "messages": pa.array([[QUESTION], [QUESTION], given], MESSAGES),
    }
    table = lance.write_dataset(pa.table(rows), str(tmp_path / "t.lance"))
    captioner = CaptionScorer(**options, prompt=CAPTION_PROMPT)
    # The filter that docs/scorers.md gives for this.
    request = FragmentRequest(
        table.uri, table.version, 0, Label("caption", "string"), "messages[-1]['role'] = 'user'"
    )
    found = score_fragment(request, captioner, TableCache()).columns
    assert found["caption"].to_pylist() == [CAPTIONS[True], CAPTIONS[False]]
    assert found["messages"].to_pylist() == [
        [QUESTION, {"role": "assistant", "content": CAPTIONS[dark]}] for dark in (True, False)
    ]
    assert set(found["caption_scorer"].to_pylist()) == {f"caption/{captioner.version}"}
    assert all(
        reason.startswith("by tiny, prompt ") for reason in found["caption_reason"].to_pylist()
    )
    captioner.close()
