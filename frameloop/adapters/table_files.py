"""Are data files there? Asked of the storage just before a commit names them.

Through Lance's own access to the storage: whatever address, region and credentials the table is reached
with serve here, too.
"""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from lance.file import LanceFileSession

from frameloop.core.errors import TransientError

REQUESTS_AT_ONCE = 16
"""An object store answers in tens of milliseconds; a local disk in ten microseconds."""


class TableFiles:
    """The data files of the table at `uri`."""

    def __init__(self, uri: str) -> None:
        self._session = LanceFileSession(uri)
        self._is_remote = "://" in uri and not uri.startswith("file://")
        self._pool = ThreadPoolExecutor(REQUESTS_AT_ONCE, thread_name_prefix="files")

    def missing(self, names: Collection[str]) -> set[str]:
        """Those of the files that are not there. Raises `TransientError` if the storage can't say."""
        ask = self._pool.map if self._is_remote and len(names) > 1 else map
        try:
            return {
                name
                for name, is_there in zip(names, ask(self._has, names), strict=True)
                if not is_there
            }
        except OSError as error:
            raise TransientError(f"data files can't be looked at: {error}") from error

    def _has(self, name: str) -> bool:
        return bool(self._session.contains(f"data/{name}"))
