"""Open versions of the table, in a process that scores."""

from collections import OrderedDict

import lance

from frameloop.core.errors import Conflict, TransientError

TABLES_MAX = 4
"""Open table versions that are kept."""


class TableCache:
    """The last few open table versions, so that not each fragment opens the table anew.

    For one thread. Lance is not fork-safe: to be made in the process that uses it.
    """

    def __init__(self, tables_max: int = TABLES_MAX) -> None:
        if tables_max < 1:
            raise ValueError("tables_max must be at least 1")
        self._tables_max = tables_max
        self._tables: OrderedDict[tuple[str, int], lance.LanceDataset] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tables)

    def at(self, uri: str, version: int) -> lance.LanceDataset:
        """The table as it was at `version`.

        Raises `Conflict` if there is no such version (any more), `TransientError` if the storage
        can't be reached.
        """
        key = (uri, version)
        if key not in self._tables:
            try:
                self._tables[key] = lance.dataset(uri, version=version)
            except ValueError as error:
                raise Conflict(f"{uri} has no version {version}: {error}") from error
            except OSError as error:
                raise TransientError(f"{uri} version {version} can't be opened: {error}") from error
        self._tables.move_to_end(key)
        while len(self._tables) > self._tables_max:
            self._tables.popitem(last=False)
        return self._tables[key]

    def forget(self, uri: str, version: int) -> None:
        """Open it anew next time: its files could not be read."""
        self._tables.pop((uri, version), None)
