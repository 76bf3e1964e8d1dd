"""What can go wrong, by what the user does about it.

LanceDatasetError(ValueError)
 |- EntryError        mend the entry in dataset_info.json
 |- TableError        the table, version, column, filter or row asked for is not there
 |- ImageError        one row's image is gone, broken, or not of the size its columns say
 |- SettingsError     mend the training configuration
 |- UnsupportedError  this LLaMA-Factory, or this combination, is not supported

Each carries one message and nothing else, so each survives pickling and the pipe from the helper process.
"""


class LanceDatasetError(ValueError):
    """Root of all errors of this package."""


class EntryError(LanceDatasetError):
    """The entry in dataset_info.json is wrong."""


class TableError(LanceDatasetError):
    """The table does not hold what the entry asks for."""


class ImageError(LanceDatasetError):
    """An image cannot be read as its row describes it."""


class SettingsError(LanceDatasetError):
    """The training configuration does not go with a Lance dataset."""


class UnsupportedError(LanceDatasetError):
    """Not supported by this package."""


BY_NAME: dict[str, type[LanceDatasetError]] = {
    cls.__name__: cls for cls in (EntryError, TableError, ImageError, SettingsError, UnsupportedError)
}
