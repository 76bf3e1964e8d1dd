"""What a server answers, read strictly: the envelope of the API, then the model's own text.

Pure. Nothing in here raises for what a server or a model wrote, other than what is documented.
"""

import json
import re
from typing import Any, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from serve_apps.vlm_errors import AnswerError, NoAnswerError
from serve_apps.vlm_text import clean, one_line

ANSWER_CHARS_MAX = 20_000
REASON_CHARS_MAX = 1_000
SHOWN_CHARS_MAX = 120

_FENCE = re.compile(r"\A```json[ \t]*\r?\n(.*)\r?\n[ \t]*```\Z", re.DOTALL)


class Usage(BaseModel):
    """Tokens, as the server counted them."""

    prompt_tokens: int = Field(0, ge=0)
    completion_tokens: int = Field(0, ge=0)

    @property
    def total(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class Choice(BaseModel):
    message: Message
    finish_reason: str | None = None


class Completion(BaseModel):
    """The part of a chat completion that is used."""

    choices: list[Choice] = Field(min_length=1, max_length=1)
    usage: Usage | None = None
    model: str = ""

    @field_validator("usage", mode="wrap")
    @classmethod
    def _usage_is_no_reason_to_fail(
        cls, value: Any, read: ValidatorFunctionWrapHandler
    ) -> Usage | None:
        try:
            return cast(Usage | None, read(value))
        except ValidationError:
            return None

    def text(self) -> str:
        """What the model wrote, cleaned. Raises `AnswerError` if it refused or did not end."""
        choice = self.choices[0]
        if choice.message.refusal:
            raise AnswerError(f"the model refused: {shown(choice.message.refusal)}")
        if choice.finish_reason == "length":
            raise AnswerError("the answer was cut off at max_tokens")
        if choice.finish_reason != "stop":
            reason = shown(str(choice.finish_reason))
            raise AnswerError(f"the answer did not end by itself, but by {reason}")
        text = choice.message.content or ""
        if len(text) > ANSWER_CHARS_MAX:
            raise AnswerError(f"the answer has more than {ANSWER_CHARS_MAX} characters")
        text = clean(text)
        if not text:
            raise AnswerError("the answer is empty")
        return text


class Verdict(BaseModel):
    """A judge's answer. Exactly these two, of exactly these types."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    reason: str = Field(min_length=1, max_length=REASON_CHARS_MAX)
    score: float = Field(ge=0, le=100, allow_inf_nan=False)


VERDICT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "description": "One or two short sentences."},
        "score": {"type": "number", "description": "From 0 to 100."},
    },
    "required": ["reason", "score"],
    "additionalProperties": False,
}
"""As servers are told. The reason comes first, so that the score follows from it. Bounds are left to
`Verdict`: not all servers know the keywords for them, and some refuse a schema that has them."""


def read_completion(body: bytes) -> Completion:
    """The envelope. Raises `NoAnswerError` for anything that is no chat completion (HTML, say)."""
    try:
        return Completion.model_validate_json(body)
    except ValidationError:
        start = shown(body[:400].decode("utf-8", "replace"))
        raise NoAnswerError(f"what came is no chat completion: {start}") from None


def read_verdict(text: str) -> Verdict:
    """A JSON object, or one ```json block that is the whole answer. Raises `AnswerError`."""
    fenced = _FENCE.match(text)
    if fenced and "```" in fenced.group(1):
        raise AnswerError(f"the answer has more than one block: {shown(text)}")
    try:
        found = json.loads(
            fenced.group(1) if fenced else text,
            object_pairs_hook=_without_repeats,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError):
        raise AnswerError(f"the answer is no JSON object: {shown(text)}") from None
    try:
        verdict = Verdict.model_validate(found)
    except ValidationError as error:
        what = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'answer'}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)[:3]
        )
        raise AnswerError(f"the answer is not as asked for: {one_line(what, 300)}") from None
    reason = one_line(verdict.reason, REASON_CHARS_MAX)
    if not reason:
        raise AnswerError("the answer gives no reason")
    return Verdict(reason=reason, score=verdict.score)


def shown(text: str) -> str:
    """The start of a text that somebody else wrote, for a message."""
    return repr(one_line(text[: 4 * SHOWN_CHARS_MAX], SHOWN_CHARS_MAX))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two scores in one object are no score."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
