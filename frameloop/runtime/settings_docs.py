"""`docs/settings.md`, made from the settings themselves: `frameloop settings --docs`."""

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from frameloop.runtime.label_settings import LabelSettings
from frameloop.runtime.section import Section
from frameloop.runtime.settings import ENV_PREFIX, Settings

HEAD = """# Settings

Made by `frameloop settings --docs`; a test keeps it current. A setting is read from the TOML file
(`--config`, else `$FRAMELOOP_CONFIG`, else `frameloop.toml` where the command runs), and from the
environment, which wins. A wrong one ends the command at once with its name and what is allowed.

```toml
data_dir = "/var/lib/frameloop"

[kafka]
embedded = false
bootstrap_servers = "kafka-1:9092,kafka-2:9092"
```
"""


def settings_markdown() -> str:
    """The whole page."""
    parts = [HEAD]
    plain = [(n, f) for n, f in Settings.model_fields.items() if not _section(f)]
    parts.append(_table("Top level", "", plain))
    for name, field in Settings.model_fields.items():
        section = _section(field)
        if section is not None:
            title = f"`[{name}]`" + (f": {doc}" if (doc := _first_line(section)) else "")
            parts.append(_table(title, f"{name}__", list(section.model_fields.items())))
    title = f"`[labels.NAME]`: {_first_line(LabelSettings)}"
    parts.append(_table(title, "labels__NAME__", list(LabelSettings.model_fields.items())))
    return "\n".join(parts)


def _table(title: str, prefix: str, fields: list[tuple[str, FieldInfo]]) -> str:
    lines = [f"## {title}", "", "| setting | default | allowed | |", "|---|---|---|---|"]
    for name, field in fields:
        variable = f"{ENV_PREFIX}{prefix}{name}".upper()
        cells = (
            f"`{name}`<br>`{variable}`",
            f"`{_default(field)}`",
            ", ".join(_allowed(field)).replace("|", "\\|"),
            field.description or "",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _section(field: FieldInfo) -> type[Section] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _first_line(section: type[Section]) -> str:
    return (section.__doc__ or "").strip().splitlines()[0] if section.__doc__ else ""


def _default(field: FieldInfo) -> str:
    if field.default is not PydanticUndefined:
        value = field.default
        return "unset" if value is None else str(value) or "empty"
    return "empty"


def _allowed(field: FieldInfo) -> Iterator[str]:
    yield _kind(field.annotation)
    for rule in field.metadata:
        for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            if (bound := getattr(rule, attribute, None)) is not None:
                yield f"{sign} {bound}"
        if (pattern := getattr(rule, "pattern", None)) is not None:
            yield f"`{pattern}`"


def _kind(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if origin in (Union, types.UnionType):
        kinds = [_kind(a) for a in get_args(annotation) if a is not type(None)]
        return " or ".join(kinds)
    if origin is tuple:
        return f"list of {_kind(get_args(annotation)[0])}"
    if origin is dict:
        return "table"
    names = {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}
    names |= {"SecretStr": "secret", "IPv4Network": "IPv4 network", "IPv6Network": "IPv6 network"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name.lower())
