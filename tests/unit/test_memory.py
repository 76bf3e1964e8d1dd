"""Kept: the last few, for a while."""

from serve_apps.memory import Memory


def test_it_is_bounded_by_number_and_forgets_the_oldest() -> None:
    memory: Memory[int] = Memory(3, 100)
    for n in (1, 2, 3, 1, 4):
        memory.put(bytes([n]), n, 0)
    assert [memory.get(bytes([n]), 0) for n in (1, 2, 3, 4)] == [1, None, 3, 4]
    assert len(memory) == 3


def test_what_is_too_old_is_not_known() -> None:
    memory: Memory[int] = Memory(3, 100)
    memory.put(b"a", 1, 0)
    assert (memory.get(b"a", 100), memory.get(b"a", 100.1)) == (1, None)


def test_what_is_forgotten_is_not_known() -> None:
    memory: Memory[int] = Memory(3, 100)
    memory.put(b"a", 1, 0)
    memory.forget(b"a")
    memory.forget(b"b")
    assert memory.get(b"a", 0) is None
