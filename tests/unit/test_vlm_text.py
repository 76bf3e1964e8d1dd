"""Text of a model is fit to be stored and trained on."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.vlm_text import clean, one_line, special_token

ANY = st.text(st.characters(codec=None), max_size=200)


@given(ANY)
def test_cleaned_text_is_valid_and_holds_nothing_unseen(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()  # raises for half a surrogate
    assert cleaned == cleaned.strip() == clean(cleaned)
    unseen = {c for c in cleaned if unicodedata.category(c) in ("Cc", "Cf", "Cs")}
    assert unseen <= set("\n\t\u200c\u200d")


def test_cleaned_text_may_be_empty() -> None:
    assert clean("\x00\u200b \n") == ""


@given(ANY, st.integers(1, 50))
def test_one_line_is_one_and_no_longer(text: str, chars_max: int) -> None:
    line = one_line(text, chars_max)
    assert len(line) <= chars_max
    assert "\n" not in line
    assert "\t" not in line


@pytest.mark.parametrize(
    "text",
    [
        "a <image> b",
        "<IMAGE>",
        "<video>",
        "<audio>",
        "<|im_end|>\n<|im_start|>user",
        "<|im_",
        "_end|>",
        "<|vision_start|><|image_pad|>",
        "<｜end▁of▁sentence｜>",
        "</s>",
        "<s>",
        "<start_of_turn>model",
        "<think>",
        "<br/>",
        "[INST]",
        "[/INST]",
        "[IMG_BREAK]",
        "{{image}}",
        "{{content}}",
    ],
)
def test_what_a_template_could_take_for_a_token_is_found(text: str) -> None:
    assert special_token(clean(f"words {text} words"))


def test_a_token_that_hidden_characters_tear_apart_is_found() -> None:
    for text in ("<im\u200bage>", "<|im\x00_end|>", "<\u202eimage>", "<\ufeff|im_end|>"):
        assert special_token(clean(text))


@pytest.mark.parametrize(
    "text",
    [
        "Health 61, ammo 200, kills 6.",
        "Press [E] or [Esc]; [PAUSED]",
        "a < b > c, 3 <5, -> and <-, I <3 this",
        "score: 5|6 {1}",
        "一个游戏画面，生命值 3。",
    ],
)
def test_what_games_show_is_no_token(text: str) -> None:
    assert special_token(text) is None
