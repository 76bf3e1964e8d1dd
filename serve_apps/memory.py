"""The last few values by key, for a while. Bounded in number and age; the time is passed in."""

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class Memory(Generic[V]):
    """For one event loop: no locks. Beyond `entries_max` what was put longest ago is forgotten."""

    def __init__(self, entries_max: int, age_max_s: float) -> None:
        self._entries_max = entries_max
        self._age_max_s = age_max_s
        self._entries: OrderedDict[bytes, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now_s: float) -> V | None:
        put_s, value = self._entries.get(key, (float("-inf"), None))
        return value if now_s - put_s <= self._age_max_s else None

    def put(self, key: bytes, value: V, now_s: float) -> None:
        self._entries.pop(key, None)
        self._entries[key] = (now_s, value)
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def forget(self, key: bytes) -> None:
        self._entries.pop(key, None)
