"""Asks a vision-language model about one image at a time, over the OpenAI-compatible API.

Guarantees: never faster than the options allow, retries included; `Retry-After` is obeyed, by all
requests at once; one call takes at most `retries + 1` times `timeout_s`, waits for turns apart, and
the waits between. Of a row, only the image is sent, as bytes.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import openai

from frameloop.core.errors import FatalError, TransientError
from frameloop.core.pace import Pace
from frameloop.core.retry import RetryPolicy
from frameloop.runtime import metrics
from serve_apps.vlm_answer import Completion, Usage, read_completion
from serve_apps.vlm_errors import NoAnswerError, RefusedError, VlmError
from serve_apps.vlm_http import AttemptError, Fault, failure_of, headers, make_client
from serve_apps.vlm_options import VlmOptions

PROMPT_TOKENS_GUESSED = 1_000
"""Of a first request; from then on, the requests before it are what the next is taken for."""
SMOOTHING = 8.0
MILLION = 1e6

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is said beside the image. `response_format` is what the API calls so, if it is sent."""

    system: str
    user: str
    response_format: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` is cleaned and not empty; `model` is what the server says has answered."""

    text: str
    model: str


class VlmClient:
    """One per scorer, for one event loop. Any number of calls at once: the caller bounds them."""

    def __init__(
        self,
        scorer: str,
        options: VlmOptions,
        prompt: Prompt,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: Random | None = None,
    ) -> None:
        self._options = options
        self._prompt = prompt
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or Random()  # noqa: S311  it spreads waits, it guards nothing
        self._key = options.key()
        self._openai = make_client(options.base_url, self._key, options.timeout_s)
        self._retry = RetryPolicy(options.retries, options.backoff_base_s, options.backoff_max_s)
        self._requests = Pace(options.requests_per_minute)
        self._tokens = Pace(options.tokens_per_minute)
        self._tokens_expected = float(PROMPT_TOKENS_GUESSED + options.max_tokens)
        self._labels = (scorer, options.model)
        _be_quiet()
        for outcome in ("answered", *(fault.value for fault in Fault)):
            metrics.VLM_REQUESTS.labels(*self._labels, outcome)

    async def close(self) -> None:
        await self._openai.close()

    async def ask(self, image_url: str) -> Answer:
        """The answer about the image at a data URL.

        Raises `RefusedError` and `NoAnswerError`, which may be the image's fault, `AnswerError`,
        `TransientError` if the server can't be reached or allows no more, and `FatalError` if it
        takes no request at all (the key, the model's name).
        """
        failures = 0
        while True:
            try:
                completion = await self._attempt(image_url)
            except AttemptError as failure:
                failures += 1
                delay_s = self._delay_s(failure, failures)
                if delay_s is None:
                    raise self._given_up(failure, failures) from None
                log.info("model %s: %s; again in %.1f s", self._labels[1], failure.what, delay_s)
            else:
                return Answer(completion.text(), completion.model or self._options.model)
            await self._sleep(delay_s)

    def _delay_s(self, failure: AttemptError, failures: int) -> float | None:
        if not failure.fault.retried:
            return None
        delay_s = self._retry.delay_s(failures, failure.asked_s, self._rng)
        if failure.asked_s is not None:
            asked_s = min(failure.asked_s, self._options.backoff_max_s)
            self._requests.hold_until(self._clock() + asked_s)
        return delay_s

    def _given_up(
        self, failure: AttemptError, attempts: int
    ) -> VlmError | TransientError | FatalError:
        what = f"model {self._labels[1]} at {self._options.base_url}: {failure.what}"
        match failure.fault:
            case Fault.REQUEST:
                return RefusedError(f"the server refuses the request: {failure.what}")
            case Fault.UNCLEAR:
                return NoAnswerError(f"no answer, attempts: {attempts}: {failure.what}")
            case Fault.SETTINGS:
                return FatalError(f"{what}; see the scorer's options")
            case _:
                return TransientError(f"{what}, attempts: {attempts}")

    async def _attempt(self, image_url: str) -> Completion:
        """One request in its turn. Raises `AttemptError`."""
        charged = self._tokens_expected
        now_s = self._clock()
        wait_s = max(
            self._requests.turn_in_s(now_s),
            self._tokens.turn_in_s(now_s, charged),
        )
        if wait_s > 0:
            await self._sleep(wait_s)
        began_s = self._clock()
        try:
            completion = await self._exchange(image_url)
        except AttemptError as failure:
            metrics.VLM_REQUESTS.labels(*self._labels, failure.fault.value).inc()
            raise
        finally:
            metrics.VLM_SECONDS.labels(*self._labels).observe(self._clock() - began_s)
        metrics.VLM_REQUESTS.labels(*self._labels, "answered").inc()
        if completion.usage is not None:
            self._account(completion.usage, charged)
        return completion

    async def _exchange(self, image_url: str) -> Completion:
        try:
            async with asyncio.timeout(self._options.timeout_s):
                raw = await self._openai.chat.completions.with_raw_response.create(
                    **self._request(image_url)
                )
        except TimeoutError:
            what = f"no answer within {self._options.timeout_s:g} s"
            raise AttemptError(Fault.UNCLEAR, what) from None
        except openai.APIError as error:
            raise failure_of(error, self._key) from None
        try:
            return read_completion(raw.content)
        except NoAnswerError as error:
            raise AttemptError(Fault.UNCLEAR, str(error)) from None

    def _request(self, image_url: str) -> dict[str, Any]:
        options, prompt = self._options, self._prompt
        image: dict[str, Any] = {"url": image_url}
        if options.image_detail is not None:
            image["detail"] = options.image_detail
        content = [{"type": "image_url", "image_url": image}, {"type": "text", "text": prompt.user}]
        request: dict[str, Any] = {
            "model": options.model,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": content},
            ],
            "temperature": options.temperature,
            "max_tokens": options.max_tokens,
            "extra_headers": headers(self._key),
        }
        if options.seed is not None:
            request["seed"] = options.seed
        if prompt.response_format is not None:
            request["response_format"] = prompt.response_format
        if options.extra_body:
            request["extra_body"] = options.extra_body
        return request

    def _account(self, usage: Usage, charged: float) -> None:
        self._tokens.settle(usage.total - charged)
        self._tokens_expected += (usage.total - self._tokens_expected) / SMOOTHING
        kinds = {"prompt": usage.prompt_tokens, "completion": usage.completion_tokens}
        for kind, tokens in kinds.items():
            metrics.VLM_TOKENS.labels(*self._labels, kind).inc(tokens)
        options = self._options
        prices = (options.price_prompt_per_million, options.price_completion_per_million)
        if any(prices):
            cost = usage.prompt_tokens * prices[0] + usage.completion_tokens * prices[1]
            metrics.VLM_COST.labels(*self._labels).inc(cost / MILLION)


def _be_quiet() -> None:
    """The libraries' logs have a line for each request, and at DEBUG the image in it."""
    for name in ("openai", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
