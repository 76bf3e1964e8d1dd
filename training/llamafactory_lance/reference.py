"""The name of one image in a table, which stands where LLaMA-Factory expects an image path.

    lance:<uri>?version=3&table=5f1c0a9b2d3e&column=image&row=17&size=640x360

A plain string, so that rows from Lance and from JSON can be concatenated, cached and pickled alike. `row` is
Lance's row offset at that version. `table` tells a table from one created anew at the same address.
Credentials never are part of it: the object store reads them from the environment.
"""

import re
from dataclasses import dataclass
from typing import TypeGuard
from urllib.parse import quote, unquote

from llamafactory_lance.errors import ImageError

PREFIX = "lance:"
_PATTERN = re.compile(
    r"lance:(?P<uri>[^?]+)\?version=(?P<version>\d+)&table=(?P<table>[0-9a-f]+)&column=(?P<column>[^&]+)"
    r"&row=(?P<row>\d+)&size=(?P<width>\d+)x(?P<height>\d+)"
)


@dataclass(frozen=True)
class ImageColumn:
    """One image column of one version of one table."""

    uri: str
    version: int
    identity: str
    column: str

    @property
    def prefix(self) -> str:
        uri, column = quote(self.uri, safe="/:@"), quote(self.column, safe="")
        return f"{PREFIX}{uri}?version={self.version}&table={self.identity}&column={column}&row="


@dataclass(frozen=True)
class ImageReference:
    source: ImageColumn
    row: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    def __str__(self) -> str:
        return f"{self.source.prefix}{self.row}&size={self.width}x{self.height}"

    @classmethod
    def parse(cls, text: str) -> "ImageReference":
        """Raises ImageError for a text that is no reference of this version of the package."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise ImageError(f"not a Lance image reference: {text!r}")
        part = match.groupdict()
        source = ImageColumn(
            unquote(part["uri"]), int(part["version"]), part["table"], unquote(part["column"])
        )
        return cls(source, int(part["row"]), int(part["width"]), int(part["height"]))


def is_reference(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.startswith(PREFIX) and "&row=" in value
