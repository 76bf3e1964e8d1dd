"""When a silent keeper is replaced, and when the service gives up."""

from frameloop.core.keeper_watch import KeeperWatch, Verdict


def watch() -> KeeperWatch:
    return KeeperWatch(silent_seconds_max=30, start_seconds_max=100, gone_seconds_max=180)


def test_a_long_time_in_which_nobody_asked_says_nothing_of_the_keeper() -> None:
    made = watch()
    made.asked(0)
    made.answered()
    assert made.verdict(10_000) is Verdict.FINE
    made.asked(10_000)
    assert made.verdict(10_001) is Verdict.FINE


def test_a_question_open_too_long_is_silence() -> None:
    made = watch()
    made.asked(0)
    assert made.verdict(30) is Verdict.FINE
    assert made.verdict(31) is Verdict.SILENT


def test_keepers_that_die_one_after_the_other_are_gone_in_the_end() -> None:
    made = watch()
    for now in range(0, 180, 10):
        made.asked(now)
        made.failed()
        assert made.verdict(now) is Verdict.FINE
    made.asked(181)
    assert made.verdict(181) is Verdict.GONE


def test_one_answer_starts_the_count_anew() -> None:
    made = watch()
    made.asked(0)
    made.failed()
    made.asked(170)
    made.answered()
    made.asked(190)
    assert made.verdict(200) is Verdict.FINE


def test_a_keeper_that_starts_has_longer_as_it_reads_all_ids_first() -> None:
    made = watch()
    made.asked(0)
    made.failed()
    made.asked(5)
    assert made.verdict(100) is Verdict.FINE
    assert made.verdict(106) is Verdict.SILENT
    made.answered()
    made.asked(110)
    assert made.verdict(141) is Verdict.SILENT
