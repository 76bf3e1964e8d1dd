"""X-Robots-Tag: what concerns us is heeded, what doesn't is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloop.core.robots import denying_directive, product_token


@pytest.mark.parametrize(
    "headers",
    [
        ["noai"],
        ["noimageai"],
        ["NoIndex, nofollow"],
        ["none"],
        ["all", "nofollow ,  noai "],
        ["frameloop: noai"],
        ["FrameLoop: nofollow, noindex"],
        ["*: noindex"],
        ["otherbot: nofollow, frameloop: noindex"],
        ["unavailable_after: Wed, 03 Dec 2025 13:09:53 PST, noai"],
        ["max-snippet:5, noai"],
    ],
)
def test_denials_to_all_or_to_us_are_found(headers: list[str]) -> None:
    assert denying_directive(headers, "frameloop") is not None


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        ["all", "nofollow, noarchive"],
        ["otherbot: noindex"],
        ["otherbot: noindex, noai"],
        ["frameloop: all, otherbot: noai"],
        ["unavailable_after: 25 Jun 2010 15:00:00 noai"],
    ],
)
def test_denials_to_others_do_not_concern_us(headers: list[str]) -> None:
    assert denying_directive(headers, "frameloop") is None


@given(st.lists(st.text()))
def test_any_header_is_survived(headers: list[str]) -> None:
    denying_directive(headers, "frameloop")


def test_our_name_is_the_product_of_the_user_agent() -> None:
    assert product_token("frameloop/0.1 (+https://x.example)") == "frameloop"
    assert product_token("frameloop crawler") == "frameloop"
