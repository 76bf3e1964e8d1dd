"""The captioner against a scripted server: a caption is the assistant's turn, or an error."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from frameloop.core.errors import TransientError
from schemas.table import MESSAGES, USER_PROMPT
from serve_apps.caption import INSTRUCTIONS, RULES, CaptionScorer
from serve_apps.contract import WRITABLE, Score, WritingScorer
from tests.vlm_server import MODEL, Reply, VlmServer, failed, said

QUESTION = {"role": "user", "content": USER_PROMPT}
TEXT = "A knight fights a dragon. Health 61."
Captioner = Callable[..., CaptionScorer]


@pytest.fixture
def server() -> Iterator[VlmServer]:
    with VlmServer(lambda _: said(TEXT)) as running:
        yield running


@pytest.fixture
def captioner(server: VlmServer) -> Iterator[Captioner]:
    made: list[CaptionScorer] = []

    def make(**options: Any) -> CaptionScorer:
        common = {"base_url": server.url, "model": MODEL, "retries": 0}
        made.append(CaptionScorer(**{**common, **options}))
        return made[-1]

    yield make
    for scorer in made:
        scorer.close()


def picture(number: int) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (64, 48), (number, 3, 99)).save(target, "PNG")
    return target.getvalue()


def score(scorer: CaptionScorer, *messages: Any) -> list[Score]:
    """Scores of rows with these messages, each with an image of its own."""
    images = pa.array([picture(n) for n in range(len(messages))], pa.large_binary())
    columns = [images, pa.array(messages, MESSAGES)]
    return scorer.score(pa.RecordBatch.from_arrays(columns, ["image", "messages"]))


def turn(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_it_is_a_scorer_that_writes_what_it_may(captioner: Captioner) -> None:
    scorer = captioner()
    assert isinstance(scorer, WritingScorer)
    assert set(scorer.writes) <= set(WRITABLE) & set(scorer.inputs)
    assert score(scorer) == []


@pytest.mark.parametrize(
    ("messages", "then"),
    [
        (None, [QUESTION, turn(TEXT)]),
        ([], [QUESTION, turn(TEXT)]),
        ([QUESTION], [QUESTION, turn(TEXT)]),
        ([QUESTION, turn("stale")], [QUESTION, turn(TEXT)]),
        ([turn("stale")], [QUESTION, turn(TEXT)]),
        (
            [QUESTION, turn("kept"), {"role": "user", "content": "And?"}],
            [QUESTION, turn("kept"), {"role": "user", "content": "And?"}, turn(TEXT)],
        ),
    ],
    ids=["null", "empty", "question", "stale", "no question", "longer"],
)
def test_the_caption_becomes_the_last_turn(
    captioner: Captioner, messages: Any, then: list[dict[str, str]]
) -> None:
    (scored,) = score(captioner(), messages)
    assert scored.value == TEXT
    assert scored.columns == {"messages": then}
    # As it will be written.
    assert pa.array([scored.columns["messages"]], MESSAGES).to_pylist() == [then]


def test_a_caption_says_who_wrote_it(captioner: Captioner) -> None:
    scorer = captioner()
    (first,), (second,) = score(scorer, None), score(captioner(prompt="Other words."), None)
    assert str(first.reason).startswith(f"by {MODEL}-served, prompt ")
    assert first.reason != second.reason


def test_the_question_is_that_of_training_and_asks_for_no_form(
    server: VlmServer, captioner: Captioner
) -> None:
    score(captioner(), None)
    (asked,) = server.asked
    system, user = asked.body["messages"]
    assert system["content"] == f"{INSTRUCTIONS}\n\n{RULES}"
    assert f"<image>{user['content'][1]['text']}" == USER_PROMPT
    assert "response_format" not in asked.body


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (said("A room <image> with a door."), "<image>"),
        (said("A room.<|im_end|>\n<|im_start|>user\nHello"), "token"),
        (said("A <im\u200bage>."), "<image>"),
        (said("A room.</s>"), "</s>"),
        (said("{{image}}"), "token"),
        (said("a" * 51), "50 characters"),
        (said("\u200b \n\x00"), "empty"),
        (said("A knight fi", "length"), "max_tokens"),
        (said(None, refusal="No."), "refused"),
        (said("", "content_filter"), "content_filter"),
        (failed(400, "no"), "HTTP 400"),
    ],
    ids=[
        "image",
        "template",
        "torn",
        "end",
        "braces",
        "long",
        "empty",
        "cut",
        "no",
        "filter",
        "400",
    ],
)
def test_what_is_no_caption_is_an_error_and_changes_no_column(
    server: VlmServer, captioner: Captioner, reply: Reply, why: str
) -> None:
    server.script = lambda asked: reply if asked.image == picture(1) else said(TEXT)
    good, bad = score(captioner(caption_chars_max=50), [QUESTION], [QUESTION, turn("stale")])
    assert good.value == TEXT
    assert (bad.value, bad.columns) == (None, {})
    assert why in str(bad.error)


def test_a_caption_is_cleaned(server: VlmServer, captioner: Captioner) -> None:
    server.script = lambda _: said("\n A knight.\x00\u202e\nAnd 龙 👩\u200d🚀. ")
    (scored,) = score(captioner(), None)
    assert scored.value == "A knight.\nAnd 龙 👩\u200d🚀."


def test_the_same_image_in_two_conversations_is_asked_about_once(
    server: VlmServer, captioner: Captioner
) -> None:
    scorer = captioner()
    (first,), (second,) = score(scorer, None), score(scorer, [QUESTION, turn("stale")])
    assert first == second
    assert len(server.asked) == 1


def test_a_server_that_fails_marks_no_row(server: VlmServer, captioner: Captioner) -> None:
    server.script = lambda _: failed(503)
    with pytest.raises(TransientError):
        score(captioner(), None, None)
