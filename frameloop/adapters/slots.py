"""Connections at once, to all hosts and to each.

aiohttp's connector has such limits too, but there the time spent waiting for a free connection
counts against the request's own time-out: under load, healthy requests would time out.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(slots=True)
class _Host:
    slots: asyncio.Semaphore
    users: int = 0


class HostSlots:
    """Guarantees: at most `total` slots are held, and `per_host` of one host. Waiters are served
    in turn. Hosts that nobody holds or waits for take no memory."""

    def __init__(self, total: int, per_host: int) -> None:
        self._total = asyncio.Semaphore(total)
        self._per_host = per_host
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def slot(self, host: str) -> AsyncIterator[None]:
        """Wait for a slot at the host, and hold it."""
        state = self._hosts.get(host)
        if state is None:
            state = self._hosts[host] = _Host(asyncio.Semaphore(self._per_host))
        state.users += 1
        try:
            # The host first: who waits for a busy host must not hold one of the total.
            async with state.slots, self._total:
                yield
        finally:
            state.users -= 1
            if not state.users:
                del self._hosts[host]

    def __len__(self) -> int:
        return len(self._hosts)
