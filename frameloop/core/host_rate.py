"""Evenly spaced requests per host. Pure: the time is passed in, the caller does the waiting.

Guarantees: two turns at one host are at least `1 / per_s` apart. A turn that is taken and not used
is lost, never shared.
Memory is bounded by `hosts_max`: beyond it, the host that was asked longest ago starts anew.
"""

from collections import OrderedDict

HOSTS_MAX = 10_000


class HostRate:
    """`per_s` 0: no limit. For one event loop: no locks."""

    def __init__(self, per_s: float, hosts_max: int = HOSTS_MAX) -> None:
        self._gap_s = 1.0 / per_s if per_s > 0 else 0.0
        self._hosts_max = hosts_max
        self._next_s: OrderedDict[str, float] = OrderedDict()

    def turn_in_s(self, host: str, now_s: float) -> float:
        """Take the next turn at the host: the seconds until it may be used."""
        if not self._gap_s:
            return 0.0
        turn_s = max(now_s, self._next_s.get(host, now_s))
        self._next_s[host] = turn_s + self._gap_s
        self._next_s.move_to_end(host)
        if len(self._next_s) > self._hosts_max:
            self._next_s.popitem(last=False)
        return turn_s - now_s
