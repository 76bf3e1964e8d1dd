"""The judge against a scripted server: a score is what the model gave, or it is an error."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image
from prometheus_client import REGISTRY

from frameloop.core.errors import FatalError, TransientError
from serve_apps.contract import Score, Scorer
from serve_apps.judge import RUBRIC, RULES, JudgeScorer
from tests.vlm_server import MODEL, Asked, Reply, VlmServer, failed, judged, said

KEY = "sk-a-key-that-nobody-may-see"
Judge = Callable[..., JudgeScorer]


@pytest.fixture
def server() -> Iterator[VlmServer]:
    with VlmServer() as running:
        yield running


@pytest.fixture
def judge(server: VlmServer) -> Iterator[Judge]:
    made: list[JudgeScorer] = []

    def make(**options: Any) -> JudgeScorer:
        common = {"base_url": server.url, "model": MODEL, "retries": 2, "backoff_base_s": 0.001}
        made.append(JudgeScorer(**{**common, **options}))
        return made[-1]

    yield make
    for scorer in made:
        scorer.close()


def picture(number: int, kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, (number % 256, 7 * number % 256, 99)).save(target, kind)
    return target.getvalue()


def batch(images: list[bytes | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(images, pa.large_binary())], ["image"])


def score(scorer: Scorer, images: list[bytes | None]) -> list[Score]:
    scores = scorer.score(batch(images))
    assert len(scores) == len(images)
    return scores


def count(metric: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(metric, {"scorer": "judge", "model": MODEL, **labels})


def bad_one(reply: Reply) -> Callable[[Asked], Reply]:
    """Row 1 always gets this reply, all else is judged."""
    return lambda asked: reply if asked.image == picture(1) else judged()


def test_each_row_gets_the_score_and_the_reason_that_the_model_gave_for_it(
    server: VlmServer, judge: Judge
) -> None:
    numbers = {picture(n): n for n in range(20)}
    server.script = lambda asked: judged(numbers[asked.image], f"number {numbers[asked.image]}")
    scores = score(judge(), list(numbers))
    assert scores == [Score(float(n), reason=f"number {n}") for n in range(20)]


def test_a_request_holds_the_image_as_bytes_our_text_and_nothing_else(
    server: VlmServer, judge: Judge
) -> None:
    score(judge(seed=3, image_detail="low", extra_body={"top_k": 1}), [picture(1)])
    (asked,) = server.asked
    system, user = asked.body["messages"]
    assert system == {"role": "system", "content": f"{RUBRIC}\n\n{RULES}"}
    assert user["content"][0]["image_url"].keys() == {"url", "detail"}
    assert asked.url.startswith("data:image/png;base64,")
    assert asked.image == picture(1)
    rest = {name: value for name, value in asked.body.items() if name != "messages"}
    assert rest.pop("response_format")["json_schema"]["schema"]["required"] == ["reason", "score"]
    settings = {"model": MODEL, "temperature": 0, "max_tokens": 400, "seed": 3, "top_k": 1}
    assert rest == settings


@pytest.mark.parametrize(("kind", "sent"), [("JPEG", "jpeg"), ("WEBP", "png"), ("GIF", "png")])
def test_an_image_goes_in_a_form_that_every_server_takes(
    server: VlmServer, judge: Judge, kind: str, sent: str
) -> None:
    score(judge(), [picture(1, kind)])
    (asked,) = server.asked
    assert asked.url.startswith(f"data:image/{sent};base64,")
    assert (asked.image == picture(1, kind)) == (kind == "JPEG")


def test_a_large_image_is_shrunk_only_if_so_set(server: VlmServer, judge: Judge) -> None:
    image = picture(1, "JPEG", (640, 480))
    score(judge(image_side_max=320), [image])
    with Image.open(io.BytesIO(server.asked[0].image)) as sent:
        assert (sent.size, sent.format) == ((320, 240), "JPEG")
    score(judge(image_side_max=640), [image])
    assert server.asked[1].image == image


def test_a_row_without_an_image_is_an_error_and_asks_nobody(
    server: VlmServer, judge: Judge
) -> None:
    scores = score(judge(), [None, b"no image", b""])
    assert [s.value for s in scores] == [None, None, None]
    assert all(s.error for s in scores)
    assert server.asked == []
    assert judge().score(batch([])) == []


NO_SCORES = {
    "refusal": (said(None, refusal="I can't help with that."), "refused"),
    "cut off": (said('{"reason": "abc', "length"), "max_tokens"),
    "filtered": (said("", "content_filter"), "content_filter"),
    "no end": (said('{"reason": "abc", "score": 1}', None), "did not end"),
    "tool call": (said(None, "tool_calls"), "tool_calls"),
    "empty": (said(" \n"), "empty"),
    "null": (said(None), "empty"),
    "prose": (said("I would give this 80 out of 100."), "no JSON"),
    "number": (said("80"), "not as asked"),
    "list": (said('[{"reason": "abc", "score": 1}]'), "not as asked"),
    "prose around": (said('Here: {"reason": "abc", "score": 1}'), "no JSON"),
    "two objects": (said('{"reason": "a", "score": 1}{"reason": "a", "score": 2}'), "no JSON"),
    "two blocks": (said('```json\n{}\n```\n```json\n{"reason": "a", "score": 1}\n```'), "block"),
    "score twice": (said('{"reason": "a", "score": 1, "score": 99}'), "no JSON"),
    "extra key": (said('{"reason": "a", "score": 1, "label": "x"}'), "label"),
    "no reason": (said('{"score": 1}'), "reason"),
    "empty reason": (judged(1, ""), "reason"),
    "half a character": (judged(1, "a\ud800"), "reason"),
    "blank reason": (judged(1, "\u200b\x07 "), "reason"),
    "long reason": (judged(1, "a" * 1001), "reason"),
    "no score": (said('{"reason": "a"}'), "score"),
    "null score": (judged(None), "score"),
    "too high": (judged(100.1), "score"),
    "too low": (judged(-0.1), "score"),
    "NaN": (said('{"reason": "a", "score": NaN}'), "no JSON"),
    "infinite": (said('{"reason": "a", "score": 1e999}'), "score"),
    "huge": (said('{"reason": "a", "score": 1%s}' % ("0" * 400)), "score"),
    "endless": (said('{"reason": "a", "score": 1%s}' % ("0" * 5000)), "no JSON"),
    "deep": (said("[" * 9000), "no JSON"),
    "bool": (judged(True), "score"),
    "text": (judged("57"), "score"),
    "very long": (said("a" * 20_001), "20000"),
    "other reason type": (judged(1, ["a"]), "reason"),
}


@pytest.mark.parametrize("case", NO_SCORES)
def test_an_answer_that_is_not_as_asked_for_is_an_error_on_its_row_alone(
    server: VlmServer, judge: Judge, case: str
) -> None:
    reply, why = NO_SCORES[case]
    server.script = bad_one(reply)
    good, bad = score(judge(), [picture(0), picture(1)])
    assert good.value == 57
    assert bad.value is None
    assert why in str(bad.error)
    assert len(str(bad.error)) < 500
    # An answer is an answer: asking again at temperature 0 would only cost more.
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"reason": "a", "score": 57}\n```',
        ' \n{"score": 57.0, "reason": "a"}\n',
    ],
)
def test_one_json_block_and_blanks_around_are_fine(
    server: VlmServer, judge: Judge, text: str
) -> None:
    server.script = lambda _: said(text)
    assert score(judge(), [picture(0)]) == [Score(57.0, reason="a")]


def test_what_a_reason_holds_is_cleaned(server: VlmServer, judge: Judge) -> None:
    server.script = lambda _: judged(1, "a\x00b\u202e\nc \x1b[31md")
    assert score(judge(), [picture(0)])[0].reason == "ab c [31md"


@pytest.mark.parametrize(
    "first",
    [
        failed(429, "slow down", Retry_After="0"),
        failed(500),
        failed(503, Retry_After="0"),
        Reply(cut=True),
        Reply(b"<html>maintenance</html>", content_type="text/html"),
        Reply(b"{}"),
        Reply(b'{"choices": []}'),
    ],
    ids=["429", "500", "503", "cut", "html", "no completion", "no choice"],
)
def test_a_failure_that_passes_costs_an_attempt_and_no_row(
    server: VlmServer, judge: Judge, first: Reply
) -> None:
    server.script = lambda asked: judged() if asked.before else first
    assert [s.value for s in score(judge(), [picture(0), picture(1)])] == [57, 57]
    assert len(server.asked) == 4


def test_a_server_that_names_another_content_type_is_understood(
    server: VlmServer, judge: Judge
) -> None:
    server.script = lambda _: Reply(judged().body, content_type="text/plain")
    assert score(judge(), [picture(0)])[0].value == 57


BROKEN = {
    "500": failed(500, "CUDA error"),
    "hung": Reply(hang=True),
    "cut": Reply(cut=True),
    "html": Reply(b"<html>", content_type="text/html"),
    "large": Reply(b"[" + b" " * (5 << 20)),
    "packed": Reply(b"x", headers={"Content-Encoding": "deflate"}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_image_that_the_server_always_fails_on_is_an_error_on_its_row(
    server: VlmServer, judge: Judge, case: str
) -> None:
    server.script = bad_one(BROKEN[case])
    scorer = judge(timeout_s=2 if case == "hung" else 20, retries=1)
    good, bad = score(scorer, [picture(0), picture(1)])
    assert good.value == 57
    assert "attempts: 2" in str(bad.error)
    assert len(server.about_plain) == 1


@pytest.mark.parametrize("case", BROKEN)
def test_a_server_that_fails_marks_no_row(server: VlmServer, judge: Judge, case: str) -> None:
    server.script = lambda _: BROKEN[case]
    scorer = judge(timeout_s=1 if case == "hung" else 20, retries=1)
    for _ in range(1 if case == "hung" else 4):  # however often it is asked
        with pytest.raises(TransientError, match="plain picture"):
            score(scorer, [picture(n) for n in range(3)])
    server.script = lambda _: judged()
    assert [s.value for s in score(scorer, [picture(n) for n in range(3)])] == [57] * 3


def test_a_server_that_breaks_in_the_middle_of_a_batch_marks_no_row(
    server: VlmServer, judge: Judge
) -> None:
    server.script = lambda _: judged() if len(server.asked) <= 5 else failed(502)
    with pytest.raises(TransientError):
        score(judge(concurrency=1), [picture(n) for n in range(9)])


def test_answers_are_paid_for_once_though_the_batch_comes_again(
    server: VlmServer, judge: Judge
) -> None:
    server.script = lambda _: judged() if len(server.asked) <= 5 else failed(502)
    scorer, images = judge(concurrency=1, retries=0), [picture(n) for n in range(9)]
    with pytest.raises(TransientError):
        score(scorer, images)
    before = len(server.asked)
    server.script = lambda _: judged()
    assert [s.value for s in score(scorer, images)] == [57] * 9
    assert len(server.asked) - before == 4


def test_a_bad_image_alone_in_its_batch_gives_way_at_the_third_time(
    server: VlmServer, judge: Judge
) -> None:
    server.script = bad_one(failed(500))
    scorer = judge(retries=0)
    for _ in range(2):
        with pytest.raises(TransientError, match="no row of the batch"):
            score(scorer, [picture(1)])
    (bad,) = score(scorer, [picture(1)])
    assert "HTTP 500" in str(bad.error)


def test_a_batch_of_nothing_but_bad_images_gives_way_in_the_end(
    server: VlmServer, judge: Judge
) -> None:
    server.script = lambda asked: judged() if asked.is_plain else failed(500)
    scorer, images = judge(retries=0), [picture(n) for n in range(20)]
    tries = 0
    while True:
        tries += 1
        assert tries < 30
        try:
            scores = score(scorer, images)
        except TransientError:
            continue
        break
    assert all("HTTP 500" in str(s.error) for s in scores)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 308])
def test_wrong_settings_mark_no_row_and_are_not_tried_again(
    server: VlmServer, judge: Judge, status: int
) -> None:
    headers = {"Location": f"{server.url}/elsewhere"} if status == 308 else {}
    server.script = lambda _: failed(status, "no", **headers)
    with pytest.raises(FatalError, match=f"HTTP {status}"):
        score(judge(concurrency=1), [picture(n) for n in range(5)])
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_image_that_is_refused_is_an_error_on_its_row(
    server: VlmServer, judge: Judge, status: int
) -> None:
    server.script = bad_one(failed(status, "image too large"))
    scorer = judge()
    (bad,) = score(scorer, [picture(1)])
    assert str(bad.error).endswith(f"HTTP {status}: image too large")
    assert len(server.asked) == 2  # with the plain picture: is it the settings?
    score(scorer, [picture(0), picture(1)])
    assert len(server.asked) == 3  # they are known to be fine


def test_requests_that_are_all_refused_are_the_settings_fault(
    server: VlmServer, judge: Judge
) -> None:
    server.script = lambda _: failed(400, "response_format is not supported")
    with pytest.raises(FatalError, match=r"plain picture.*response_format"):
        score(judge(), [picture(n) for n in range(3)])


def test_a_limit_that_stays_marks_no_row(server: VlmServer, judge: Judge) -> None:
    server.script = bad_one(failed(429, "quota"))
    with pytest.raises(TransientError, match="HTTP 429: quota"):
        score(judge(), [picture(0), picture(1)])


def test_a_server_that_is_away_marks_no_row(server: VlmServer, judge: Judge) -> None:
    with VlmServer() as gone:
        address = gone.url
    with pytest.raises(TransientError, match="can't be reached"):
        score(judge(base_url=address), [picture(0)])


def test_no_more_requests_are_under_way_than_allowed(server: VlmServer, judge: Judge) -> None:
    server.barrier = asyncio.Barrier(3)  # passes only if three do come at once
    assert len(score(judge(concurrency=3), [picture(n) for n in range(12)])) == 12
    assert server.at_once_max == 3


def test_the_key_is_sent_and_never_shown(
    server: VlmServer,
    judge: Judge,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JUDGE_KEY", KEY)
    (tmp_path / "key").write_text(f"{KEY}\n")
    from_env, from_file = judge(api_key_env="JUDGE_KEY"), judge(api_key_file=tmp_path / "key")
    shown = []
    for status in (500, 400, 401, 429):
        server.script = lambda _, s=status: failed(s, f"wrong key: {KEY}")
        for scorer in (from_env, from_file):
            with pytest.raises((FatalError, TransientError)) as raised:
                score(scorer, [picture(status)])
            shown += [str(raised.value), repr(raised.value), repr(scorer.__dict__)]
    server.script = bad_one(failed(400, f"wrong key: {KEY}"))
    (bad,) = score(from_env, [picture(1)])
    assert {asked.headers["Authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
    assert KEY not in f"{shown} {bad} {caplog.text}"
    assert "[key]" in str(bad.error)
    assert "base64" not in caplog.text


def test_nothing_of_the_environment_goes_to_a_server_that_was_given_no_key(
    server: VlmServer, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    assert score(judge(), [picture(0)])[0].value == 57
    assert KEY not in json.dumps(server.asked[0].headers)


def test_tokens_cost_and_outcomes_are_counted(server: VlmServer, judge: Judge) -> None:
    tokens, requests = "frameloop_vlm_tokens_total", "frameloop_vlm_requests_total"
    scorer = judge(price_prompt_per_million=2, price_completion_per_million=10)
    server.script = lambda asked: judged() if asked.before else failed(500)
    before = {
        "prompt": count(tokens, kind="prompt") or 0,
        "completion": count(tokens, kind="completion") or 0,
        "answered": count(requests, outcome="answered") or 0,
        "failed": count(requests, outcome="failed") or 0,
        "cost": count("frameloop_vlm_cost_total") or 0,
    }
    score(scorer, [picture(n) for n in range(5)])
    assert count(tokens, kind="prompt") == before["prompt"] + 500
    assert count(tokens, kind="completion") == before["completion"] + 50
    assert count(requests, outcome="answered") == before["answered"] + 5
    assert count(requests, outcome="failed") == before["failed"] + 5
    cost = (500 * 2 + 50 * 10) / 1e6
    assert count("frameloop_vlm_cost_total") == pytest.approx(before["cost"] + cost)


def test_without_prices_there_is_no_cost(server: VlmServer, judge: Judge) -> None:
    score(judge(model="priceless"), [picture(0)])
    labels = {"scorer": "judge", "model": "priceless"}
    assert REGISTRY.get_sample_value("frameloop_vlm_cost_total", labels) is None
