"""The table of sources."""

import subprocess
import sys

import pytest

from hyperskin.errors import UnknownNameError
from hyperskin.sources.catalog import SOURCES, find_source


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_source_of_the_table_is_there_and_knows_its_name(name):
    source = find_source(name)
    assert source.name == name
    assert source.gives in {"raw", "cubes", "pairs"}
    assert source.invented == (name == "phantom")


def test_an_unknown_source_is_refused_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="`source` must be one of phantom, lumo, cave, hyperskin; got 'cafe'"):
        find_source("cafe")


def test_looking_one_source_up_loads_no_other():
    code = (
        "import sys; from hyperskin.sources.catalog import find_source; "
        "find_source('cave'); print('hyperskin.sources.lumo' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
