"""Whatever a model writes: a score that it gave in exactly the form asked for, or an error."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serve_apps.vlm_answer import VERDICT_SCHEMA, Verdict, read_completion, read_verdict
from serve_apps.vlm_errors import AnswerError, NoAnswerError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([0, 100, 57.5, 10**400, -0.0, "57", "NaN"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["reason", "score", "Score", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)
ANSWERS = (
    st.text(max_size=300)
    | VALUES.map(json.dumps)
    | st.fixed_dictionaries({"reason": VALUES, "score": VALUES}).map(json.dumps)
    | VALUES.map(lambda value: f"```json\n{json.dumps(value)}\n```")
    | st.builds(
        '{{"reason": "a", "score": {}}}'.format, st.text("0123456789eE.+-xNaIn", max_size=8)
    )
)


def is_as_asked_for(value: Any) -> bool:
    """The form once more, in other words."""
    if type(value) is not dict or set(value) != {"reason", "score"}:
        return False
    score, reason = value["score"], value["reason"]
    return (
        type(score) in (int, float)
        and 0 <= score <= 100
        and type(reason) is str
        and 0 < len(reason) <= 1000
    )


@given(ANSWERS)
@example('{"reason": "a", "score": 1, "score": 2}')
@example('{"reason": "a", "score": NaN}')
@example('{"reason": "a", "score": true}')
@example('{"reason": "a", "score": 1e400}')
@example("[" * 100_000)
@example("1" * 5_000)
def test_a_score_comes_from_exactly_the_form_asked_for(text: str) -> None:
    try:
        verdict = read_verdict(text)
    except AnswerError as error:
        refusal = str(error)
    else:
        refusal = None
    if refusal is not None:
        assert len(refusal) < 500
        assert refusal.isprintable()
        return
    body = text.removeprefix("```json\n").removesuffix("\n```")
    found = json.loads(body)
    assert is_as_asked_for(found)
    assert verdict.score == found["score"]
    assert verdict.reason.isprintable() or "\u200c" in verdict.reason or "\u200d" in verdict.reason


@given(st.floats(0, 100) | st.integers(0, 100), st.text("abcäöü \n", min_size=1, max_size=50))
def test_an_answer_as_asked_for_is_taken(score: float, reason: str) -> None:
    text = json.dumps({"score": score, "reason": f"x{reason}"})
    for form in (text, f"```json\n{text}\n```"):
        assert read_verdict(form).score == score


@pytest.mark.parametrize(
    "text",
    [
        '```\n{"reason": "a", "score": 1}\n```',
        '```json{"reason": "a", "score": 1}```',
        'x\n```json\n{"reason": "a", "score": 1}\n```',
        '```json\n{"reason": "a", "score": 1}\n```\nx',
        '```json\n{"reason": "a", "score": 1}\n```\n```json\n{"reason": "a", "score": 2}\n```',
        '```json\n{"reason": "```", "score": 1}\n```',
    ],
)
def test_a_block_is_taken_only_if_it_is_the_one_and_the_whole(text: str) -> None:
    with pytest.raises(AnswerError):
        read_verdict(text)


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
@example(b'{"choices": [{"message": {"content": 1}}]}')
@example(b'{"choices": [{"message": {}}, {"message": {}}]}')
@example(b'{"choices": [null]}')
def test_whatever_a_server_sends_that_is_no_completion_is_no_answer(body: bytes) -> None:
    with pytest.raises(NoAnswerError) as raised:
        read_completion(body)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "usage", ["null", "3", "{}", '{"prompt_tokens": -1}', '{"prompt_tokens": "x"}']
)
def test_a_strange_account_of_tokens_costs_no_answer(usage: str) -> None:
    choice = '{"message": {"content": "a"}, "finish_reason": "stop"}'
    completion = read_completion(f'{{"choices": [{choice}], "usage": {usage}}}'.encode())
    assert completion.text() == "a"
    assert completion.usage is None or completion.usage.total == 0


def test_the_schema_for_servers_asks_for_what_is_taken() -> None:
    assert VERDICT_SCHEMA["required"] == list(Verdict.model_fields) == ["reason", "score"]
    assert list(VERDICT_SCHEMA["properties"]) == VERDICT_SCHEMA["required"]
    assert VERDICT_SCHEMA["additionalProperties"] is False
