"""The fuzz targets hold for their seeds and for quick mutations of them. `make fuzz` goes deeper."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

inputs = {name: seeds() for name, seeds in SEEDS.items()}
mutations = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), max_size=4)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
@settings(deadline=None)
def test_no_input_breaks_a_guarantee(name: str, data: st.DataObject) -> None:
    hostile = bytearray(data.draw(st.sampled_from(inputs[name])))
    for place, replacement in data.draw(mutations):
        at = int(place * len(hostile))
        hostile[at : at + len(replacement)] = replacement
    TARGETS[name](bytes(hostile))
