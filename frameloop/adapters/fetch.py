"""Fetch one image from the open web, without harm to us, to our network or to the host.

Guarantees: no connection is made to an address that `allow_networks` or the public internet does
not hold, redirects included. At most `image_bytes_max` bytes are held per image. A host is asked
at most so fast, by so many, and is left alone while it fails. Nothing of a URL's query or
credentials gets into a message. Cookies are not kept; proxies of the environment are not used.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from frameloop.adapters.answer import (
    AnswerLimits,
    AttemptError,
    Body,
    Meter,
    Redirect,
    Unmetered,
    Within,
    exchange,
)
from frameloop.adapters.resolver import CheckedResolver, Lookup, system_lookup
from frameloop.adapters.slots import HostSlots
from frameloop.core.address import AddressPolicy, shown
from frameloop.core.breaker import Admission, Breaker
from frameloop.core.errors import Rejected
from frameloop.core.host_rate import HostRate
from frameloop.core.retry import RetryPolicy
from frameloop.core.robots import product_token
from frameloop.runtime.settings import FetchSettings
from schemas.dead_letter import Reason

# A short time, as addresses are checked when they are looked up.
LOOKUP_CACHE_S = 30
LOOKUP_CACHE_HOSTS = 4096
READ_BUFFER_BYTES = 256 << 10
UNMETERED = Unmetered()


@dataclass(frozen=True, slots=True)
class Fetched:
    """`seconds` is all of it: waits, attempts and redirects. `host` answered in the end."""

    data: bytes
    status: int
    seconds: float
    attempts: int
    host: str


class ImageFetcher:
    """One per actor and event loop; `async with` opens and closes its connections.

    Any number of `fetch` calls may run at once: those beyond the limits wait their turn, which
    costs them no time-out. Memory in hand is up to `connections * image_bytes_max`, or what the
    meter allows.
    """

    def __init__(
        self,
        settings: FetchSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        lookup: Lookup = system_lookup,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng or Random()  # noqa: S311  it spreads waits, it guards nothing
        self._sleep = sleep
        self._lookup = lookup
        self._policy = AddressPolicy(settings.allow_networks)
        self._retry = RetryPolicy(settings.retries, settings.backoff_base_s, settings.backoff_max_s)
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_open_s)
        self._rate = HostRate(settings.requests_per_host_per_s)
        self._slots = HostSlots(settings.connections, settings.connections_per_host)
        robot = product_token(settings.user_agent) if settings.obey_robots_tag else None
        self._limits = AnswerLimits(settings.image_bytes_max, robot)
        self._timeout = self._timeout_of(settings.total_timeout_s)

    async def __aenter__(self) -> Self:
        settings = self._settings
        self._resolver = CheckedResolver(self._policy, settings.connect_timeout_s, self._lookup)
        connector = aiohttp.TCPConnector(
            limit=0,  # `HostSlots` limits
            resolver=self._resolver,
            socket_factory=self._resolver.checked_socket,
            ttl_dns_cache=LOOKUP_CACHE_S,
            dns_cache_max_size=LOOKUP_CACHE_HOSTS,
        )
        accepted = ", ".join(f"image/{name.lower()}" for name in settings.formats)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # it has no bound of ours; see `answer`
            trust_env=False,
            read_bufsize=READ_BUFFER_BYTES,
            headers={
                "User-Agent": settings.user_agent,
                "Accept": f"{accepted}, */*;q=0.1",
                "Accept-Encoding": "identity",
            },
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()
        await self._resolver.close()

    @property
    def open_hosts(self) -> int:
        """Hosts that the circuit breaker leaves alone at present. For metrics."""
        return self._breaker.open_hosts()

    async def fetch(self, url: str, meter: Meter = UNMETERED) -> Fetched:
        """The bytes at the URL, not yet verified to be an image; `meter` is told of them.

        Raises `Rejected` once it is clear that this URL gives none: at once, or after all
        attempts. Raises `TransientError`, at once, when this machine has run out of sockets, and
        whatever the meter raises.
        """
        started_s = self._clock()
        target = self._policy.url(url)
        failures = 0
        while True:
            try:
                body, host = await self._attempt(target, meter)
            except AttemptError as failure:
                failures += 1
                delay_s = self._delay_s(failure, failures)
                if delay_s is None:
                    detail = f"{shown(target)}: {failure.what}, attempts: {failures}"
                    raise Rejected(failure.reason, detail) from None
            else:
                seconds = self._clock() - started_s
                return Fetched(body.data, body.status, seconds, failures + 1, host)
            await self._sleep(delay_s)

    def _delay_s(self, failure: AttemptError, failures: int) -> float | None:
        if not failure.retried:
            return None
        return self._retry.delay_s(failures, failure.asked_s, self._rng)

    async def _attempt(self, url: URL, meter: Meter) -> tuple[Body, str]:
        """One attempt: the request, and those that redirects ask for, within one time-out."""
        seen = {url}
        within = Within(self._timeout, meter)
        while True:
            answer, took_s = await self._request(url, within)
            if isinstance(answer, Body):
                return answer, _host_of(url)
            url = self._policy.redirect(url, answer.location)
            if url in seen or len(seen) > self._settings.redirects:
                what = "redirect loop" if url in seen else "too many redirects"
                raise Rejected(Reason.REDIRECTS_EXCEEDED, f"{shown(url)}: {what}")
            seen.add(url)
            left_s = (within.timeout.total or 0) - took_s
            if left_s <= 0:
                raise AttemptError(Reason.TIMED_OUT, "redirects took too long")
            within = Within(self._timeout_of(left_s), meter)

    async def _request(self, url: URL, within: Within) -> tuple[Body | Redirect, float]:
        """One request in its turn at the host, its outcome told to the breaker. And its seconds."""
        host = _host_of(url)
        wait_s = self._rate.turn_in_s(host, self._clock())
        if wait_s > 0:
            await self._sleep(wait_s)
        async with self._slots.slot(host):
            # Asked now, not before the wait: the host may have been opened meanwhile.
            began_s = self._clock()
            admission = self._breaker.admit(host, began_s)
            if admission.wait_s > 0:
                raise _left_alone(admission)
            try:
                answer = await exchange(self._session, url, self._limits, within)
            except AttemptError as failure:
                if failure.host_failed:
                    self._breaker.failed(host, self._clock(), admission)
                raise
            except Rejected as rejected:
                self._breaker.succeeded(host)
                raise Rejected(rejected.reason, f"{shown(url)}: {rejected.detail}") from None
            self._breaker.succeeded(host)
            return answer, self._clock() - began_s

    def _timeout_of(self, total_s: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=total_s, sock_connect=self._settings.connect_timeout_s)


def _host_of(url: URL) -> str:
    """Host and port, by which limits are kept. One name has one form: lower case, no last dot."""
    return (url.host_port_subcomponent or "").lower()


def _left_alone(admission: Admission) -> AttemptError:
    """Counts as an attempt, though the host is not asked: no event waits for ever."""
    return AttemptError(
        Reason.CONNECTION_FAILED,
        f"host left alone after {admission.failures} failures in a row",
        host_failed=False,
        asked_s=admission.wait_s,
    )
