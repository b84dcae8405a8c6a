"""A healthy repository for each test, and what is found in it."""

import pytest

from hyperskin.health.examine import examine
from tests.health.repository import copy_template, make_template

# Of the machine that runs the tests, not of the repository.
OF_THE_MACHINE = ("A training wants", "The disk of", "The folder of temporary files", "Port 5000")
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "HDF5_PLUGIN_PATH",
    "HYPERSKIN_DATABASE",
    "MLFLOW_TRACKING_URI",
    "PGPASSFILE",
    "PREFECT_API_AUTH_STRING",
    "PREFECT_API_URL",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
)


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        root = tmp_path_factory.mktemp("template") / "repository"
        root.mkdir()
        make_template(root)
    return root


@pytest.fixture
def root(template, tmp_path, monkeypatch):
    """A healthy repository, looked at from a shell in which nothing is set."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return copy_template(template, tmp_path / "repository")


@pytest.fixture
def found():
    """Look, and leave out what is the machine's."""

    def look(root):
        return [one for one in examine(root).findings if not one.what.startswith(OF_THE_MACHINE)]

    return look
