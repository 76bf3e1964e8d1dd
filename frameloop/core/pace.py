"""Evenly spaced use of what is counted by the minute: requests, tokens. Pure: the time is passed in.

Guarantee: after a turn of n units, the next is at least `n * 60 / per_minute` seconds later, so that
any minute holds at most `per_minute` units and one turn more. A turn that is taken and not used is
lost. There is no burst: servers count by the second what they state by the minute.
"""


class Pace:
    """`per_minute` None: no limit but that of `hold_until`. For one event loop: no locks."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap_s = 60.0 / per_minute if per_minute else 0.0
        self._next_s = float("-inf")

    def turn_in_s(self, now_s: float, units: float = 1.0) -> float:
        """Take the next turn, of so many units: the seconds until it may be used."""
        turn_s = max(now_s, self._next_s)
        self._next_s = turn_s + units * self._gap_s
        return turn_s - now_s

    def settle(self, units: float) -> None:
        """A turn has cost so many units more than was said when it was taken, or less: below 0."""
        self._next_s += units * self._gap_s

    def hold_until(self, until_s: float) -> None:
        """No further turn before this time: the server has asked for it."""
        self._next_s = max(self._next_s, until_s)
