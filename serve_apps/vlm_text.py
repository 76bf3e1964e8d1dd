"""Text that a model wrote, made fit to be stored, shown and trained on."""

import re
import unicodedata

_KEPT = "\n\t\u200c\u200d"
"""Line ends, and the two joiners that Persian, Indic scripts and emoji are written with."""
_REMOVED = ("Cc", "Cf", "Cs")
"""Control and invisible characters (bidirectional overrides among them), halves of surrogates."""

# Whatever a chat template or LLaMA-Factory could take for something else than text:
# <|im_end|>, <｜User｜>; <image>, </s>, <start_of_turn>; [INST], [IMG_END]; {{image}}.
# Keys such as [Esc], which games show, are none.
_SPECIAL = re.compile(
    r"<[|｜]|[|｜]>|</?[A-Za-z_][\w.:-]*/?>|\{\{|\}\}"
    r"|\[/?(?:INST|IMG\w*|AUDIO\w*|THINK|SYSTEM_PROMPT|TOOL_\w+|AVAILABLE_TOOLS)\]"
)


def clean(text: str) -> str:
    """Without characters that are not seen, hence valid UTF-8, and without blanks at either end."""
    kept = (c for c in text if c in _KEPT or unicodedata.category(c) not in _REMOVED)
    return "".join(kept).strip()


def one_line(text: str, chars_max: int) -> str:
    """Cleaned, blanks and line ends made single blanks, cut at `chars_max`."""
    line = " ".join(clean(text).split())
    return line if len(line) <= chars_max else f"{line[: chars_max - 1]}…"


def special_token(text: str) -> str | None:
    """The first part of a cleaned text that may be taken for a placeholder or a chat token.

    Refuse such a text rather than cut the part out: what is left may form another one.
    """
    found = _SPECIAL.search(text)
    return found.group() if found else None
