"""Options of the scorers that ask a vision-language model: typed, bounded, checked once.

They come from the label's `options` in the settings. The key itself is never one of them: they name
the environment variable or the file that holds it. docs/scorers.md explains each.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from frameloop.core.errors import SettingsError
from serve_apps.vlm_text import special_token

PROMPT_CHARS_MAX = 20_000
KEY_CHARS_MAX = 4_096
OURS = ("model", "messages", "temperature", "max_tokens", "seed", "response_format", "stream", "n")
"""Fields of a request that have an option of their own, or must be as they are."""


class VlmOptions(BaseModel):
    """What `judge` and `caption` have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str = Field(description="Of the API, up to and with `/v1`.")
    model: str = Field(min_length=1, max_length=300, description="As the server calls it.")
    api_key_env: str | None = Field(
        None, min_length=1, description="Environment variable that holds the key."
    )
    api_key_file: Path | None = Field(None, description="File that holds the key; instead.")
    prompt: str | None = Field(
        None, min_length=1, max_length=PROMPT_CHARS_MAX, description="Instead of the one shipped."
    )
    prompt_file: Path | None = Field(None, description="File that holds the prompt; instead.")
    temperature: float = Field(0, ge=0, le=2)
    max_tokens: int = Field(400, ge=1, le=32_768, description="Of one answer.")
    seed: int | None = Field(None, ge=0, description="Sent if set; not all servers heed it.")
    image_side_max: int | None = Field(
        None, ge=28, le=16_384, description="Pixels; longer sides are shrunk before sending."
    )
    image_detail: Literal["auto", "low", "high"] | None = Field(
        None, description="Sent if set; of use to OpenAI's own models."
    )
    extra_body: dict[str, JsonValue] = Field(
        default_factory=dict, description="Further fields of the request, as the server has them."
    )
    concurrency: int = Field(8, ge=1, le=256, description="Requests at once, of one replica.")
    requests_per_minute: float | None = Field(None, gt=0, description="Of one replica.")
    tokens_per_minute: float | None = Field(
        None, gt=0, description="Of one replica; prompt and answer."
    )
    timeout_s: float = Field(60, gt=0, le=300, description="One attempt, from first byte to last.")
    retries: int = Field(3, ge=0, le=10, description="Further attempts after the first.")
    backoff_base_s: float = Field(1, gt=0, le=60)
    backoff_max_s: float = Field(
        30, gt=0, le=300, description="Also the most that Retry-After may ask."
    )
    price_prompt_per_million: float = Field(
        0, ge=0, description="Tokens; 0 is unknown. For the metric of costs."
    )
    price_completion_per_million: float = Field(0, ge=0)

    @field_validator("base_url")
    @classmethod
    def _is_plain_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            sound = False
        if not sound:
            raise ValueError("must be an http or https address")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must have no credentials, query or fragment; see api_key_env")
        return value

    @field_validator("extra_body")
    @classmethod
    def _leaves_ours_alone(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(set(value) & set(OURS)):
            raise ValueError(f"must not set {', '.join(taken)}")
        return value

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        for one, other in (("api_key_env", "api_key_file"), ("prompt", "prompt_file")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other} can't both be set")
        return self

    def key(self) -> SecretStr | None:
        """The key, read now. None if no option names one. Raises `SettingsError`."""
        if self.api_key_env is not None:
            name, key = "api_key_env", os.environ.get(self.api_key_env, "")
        elif self.api_key_file is not None:
            name, key = "api_key_file", _text_of(self.api_key_file, "api_key_file", KEY_CHARS_MAX)
        else:
            return None
        key = key.strip()
        # Anything else would fail later, with the key in the message.
        if not (key.isascii() and key.isprintable()) or not 0 < len(key) <= KEY_CHARS_MAX:
            raise SettingsError(f"{name}: there is no usable key where it points")
        return SecretStr(key)

    def instructions(self, shipped: str) -> str:
        """The prompt that is in force. Raises `SettingsError`."""
        if self.prompt_file is not None:
            text = _text_of(self.prompt_file, "prompt_file", PROMPT_CHARS_MAX)
        else:
            text = self.prompt if self.prompt is not None else shipped
        if not text.strip():
            raise SettingsError("prompt: is empty")
        if token := special_token(text):
            raise SettingsError(f"prompt: {token!r} may be taken for a token of the chat template")
        return text.strip()


O = TypeVar("O", bound=VlmOptions)  # noqa: E741


def read_options(model: type[O], scorer: str, options: Mapping[str, Any]) -> O:
    """Checked options. Raises `SettingsError`, which names each wrong one and shows no value."""
    try:
        return model(**options)
    except ValidationError as error:
        lines = []
        for item in error.errors(include_input=False, include_url=False, include_context=False):
            name = ".".join(str(part) for part in item["loc"]) or "options"
            what = item["msg"].removeprefix("Value error, ")
            known = item["type"] != "extra_forbidden"
            lines.append(f"{scorer}: {name}: {what if known else 'there is no such option'}")
        raise SettingsError("\n".join(lines)) from None


def _text_of(path: Path, option: str, chars_max: int) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(chars_max + 1)
    except OSError as error:
        raise SettingsError(f"{option}: {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{option}: {path} is no UTF-8 text") from None
    if len(text) > chars_max:
        raise SettingsError(f"{option}: {path} has more than {chars_max} characters")
    return text
