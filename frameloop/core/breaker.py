"""Circuit breaker per host. Pure: the caller passes the time in and reports each outcome.

A host is closed (requests go), then after `failures_max` failures in a row open for `open_s`
(nobody goes), then one request, the probe, decides: success closes, failure opens again.

Guarantees: at most one probe is on its way per `open_s`. A probe whose outcome is never reported,
because its task was cancelled, blocks nobody for longer than `open_s`. Memory is bounded by
`hosts_max`: beyond it, the host that failed longest ago is forgotten.
"""

from collections import OrderedDict
from dataclasses import dataclass

HOSTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Admission:
    """`wait_s` 0: go, and report the outcome with this object. Else: stay away for so long."""

    wait_s: float = 0.0
    probe: bool = False
    failures: int = 0


_GO = Admission()


@dataclass(slots=True)
class _Host:
    failures: int = 0
    open_until_s: float | None = None


class Breaker:
    """Hosts that fail; a host that is well takes no memory. For one event loop: no locks."""

    def __init__(self, failures_max: int, open_s: float, hosts_max: int = HOSTS_MAX) -> None:
        if failures_max < 1 or open_s <= 0 or hosts_max < 1:
            raise ValueError("failures_max and hosts_max must be at least 1, open_s above 0")
        self._failures_max = failures_max
        self._open_s = open_s
        self._hosts_max = hosts_max
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def admit(self, host: str, now_s: float) -> Admission:
        """Whether a request may go to the host now."""
        state = self._hosts.get(host)
        if state is None or state.open_until_s is None:
            return _GO
        if now_s < state.open_until_s:
            return Admission(wait_s=state.open_until_s - now_s, failures=state.failures)
        # The probe takes a lease: to all others the host stays open until it is back, or late.
        state.open_until_s = now_s + self._open_s
        return Admission(probe=True, failures=state.failures)

    def succeeded(self, host: str) -> None:
        """The host gave an answer of its own, be it that there is no such image."""
        self._hosts.pop(host, None)

    def failed(self, host: str, now_s: float, admission: Admission) -> None:
        """The request that was admitted so found the host failing."""
        state = self._hosts.setdefault(host, _Host())
        self._hosts.move_to_end(host)
        state.failures += 1
        if admission.probe or (
            # Late failures of requests sent before the host was opened don't prolong it.
            state.open_until_s is None and state.failures >= self._failures_max
        ):
            state.open_until_s = now_s + self._open_s
        if len(self._hosts) > self._hosts_max:
            self._hosts.popitem(last=False)

    def open_hosts(self) -> int:
        """Hosts left alone at present, or on trial. For metrics."""
        return sum(state.open_until_s is not None for state in self._hosts.values())
