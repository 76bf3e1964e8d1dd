"""A reference names one image for good, and nothing else is taken for one."""

import pickle

import pytest
from llamafactory_lance.errors import BY_NAME, ImageError, TableError
from llamafactory_lance.reference import ImageColumn, ImageReference, is_reference


@pytest.mark.parametrize(
    "uri",
    ["/data/shots.lance", "s3://bucket/a b/shots.lance", "/odd/?version=9&row=1#ü/shots.lance"],
)
@pytest.mark.parametrize("column", ["image", "weird &=? column"])
def test_reference_round_trip(uri: str, column: str) -> None:
    reference = ImageReference(ImageColumn(uri, 7, "0123456789ab", column), 42, 640, 360)
    text = str(reference)
    assert is_reference(text)
    assert ImageReference.parse(text) == reference
    assert text.startswith(reference.source.prefix)


@pytest.mark.parametrize(
    "text", ["lance:/a?version=1&row=2", "lance:/a?version=x&table=0&column=i&row=1&size=1x1"]
)
def test_a_broken_reference_is_an_error(text: str) -> None:
    with pytest.raises(ImageError, match="not a Lance image reference"):
        ImageReference.parse(text)


def test_paths_and_bytes_are_no_references() -> None:
    assert not is_reference("images/1.png")
    assert not is_reference(b"lance:")
    assert not is_reference(None)


def test_errors_survive_pickling_and_are_known_by_name() -> None:
    error = pickle.loads(pickle.dumps(TableError("gone")))
    assert type(error) is TableError
    assert str(error) == "gone"
    assert BY_NAME["TableError"] is TableError
