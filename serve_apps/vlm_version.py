"""The version of a scorer that asks a model: whatever can change an answer changes it."""

import hashlib
import json

from serve_apps.vlm_client import Prompt
from serve_apps.vlm_options import VlmOptions

CODE = "1"
"""To be raised with any change of how images are prepared or answers are read."""
NOT_OF_THE_ANSWER = frozenset(
    {
        *("base_url", "api_key_env", "api_key_file"),
        *("prompt", "prompt_file"),  # in the text that they give
        *("concurrency", "requests_per_minute", "tokens_per_minute"),
        *("timeout_s", "retries", "backoff_base_s", "backoff_max_s"),
        *("price_prompt_per_million", "price_completion_per_million"),
    }
)
"""Options that decide where, when and how fast it is asked. Any other is part of the version."""


def digest_of(prompt: Prompt) -> str:
    """Eight hex digits of the whole prompt's SHA-256."""
    return _digest([prompt.system, prompt.user])


def version_of(options: VlmOptions, prompt: Prompt) -> str:
    """`1-` and eight hex digits. The server's address is no part of it: a server may move."""
    chosen = options.model_dump(mode="json", exclude=set(NOT_OF_THE_ANSWER))
    return f"{CODE}-{_digest([chosen, prompt.system, prompt.user, prompt.response_format])}"


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:8]
