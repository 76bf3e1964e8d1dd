"""What `X-Robots-Tag` says about us. Pure.

The header holds comma-separated directives. `name: directive` addresses one robot, and so do the
directives after it up to the next name. Directives for other robots don't concern us.
"""

from collections.abc import Iterable

# `none` is short for `noindex, nofollow`.
_DENYING = frozenset({"noai", "noimageai", "noindex", "none"})
# Directives with a value look like a name with a directive.
_WITH_VALUE = frozenset(
    {"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"}
)


def denying_directive(headers: Iterable[str], robot: str) -> str | None:
    """The first directive that denies use to `robot` (a product token), or None."""
    for header in headers:
        addressed = None
        for part in header.lower().split(","):
            name, colon, directive = part.partition(":")
            name = name.strip()
            if not colon:
                directive = name
            elif name in _WITH_VALUE or not name or " " in name:
                continue  # a value may hold colons and commas itself: a date does
            else:
                addressed = name
            directive = directive.strip()
            if directive in _DENYING and addressed in (None, "*", robot.lower()):
                return directive
    return None


def product_token(user_agent: str) -> str:
    """`frameloop` of `frameloop/0.1 (+https://…)`: the name robots rules are written for."""
    return user_agent.split("/", 1)[0].split(" ", 1)[0]
