"""Data of people that others can read are broken, not worse; DVC's remotes away from here are named."""

import pytest

from hyperskin.health.privacy import look

REMOTE = """
['remote "lab"']
    url = s3://bucket/cache
['remote "disk"']
    url = /mnt/disk
"""


@pytest.fixture
def of_people(root):
    """A repository whose captures are of people."""
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("name: phantom", "name: lumo"))
    return root


def test_open_data_of_people_are_broken_and_of_made_up_ones_a_warning(root):
    path = root / "params.yaml"
    for folder in (root / "data", root / "data" / "cubes"):
        folder.chmod(0o750)
    [made_up] = look(root)
    path.write_text(path.read_text().replace("name: phantom", "name: lumo"))
    [people] = look(root)
    path.write_text("nobody knows")
    [unknown] = look(root)
    assert [one.severity for one in (made_up, people, unknown)] == ["warning", "broken", "broken"]
    assert people.what == "The folder data must be closed to other users of this machine; its mode is 750."


def test_a_folder_is_closed_when_all_that_is_in_it_is(root):
    for folder in (root / "data", root / "mlruns"):
        folder.chmod(0o755)
    (root / "data" / "sources").mkdir(mode=0o755)
    (root / "mlruns" / ".gitkeep").touch(mode=0o644)
    assert list(look(root)) == []


def test_a_remote_elsewhere_is_named_where_captures_are_of_people(root, of_people):
    config = root / ".dvc" / "config"
    config.write_text(config.read_text() + REMOTE)
    [finding] = look(root)
    assert (finding.severity, finding.remedy) == ("warning", "dvc remote remove lab")
    assert "s3://bucket/cache" in finding.what
    path = root / "params.yaml"
    path.write_text(path.read_text().replace("name: lumo", "name: phantom"))
    assert list(look(root)) == []


@pytest.mark.parametrize(("content", "is_found"), [("[core]\n    no_scm = true\n", False), ("secret_key = x\n", True)])
def test_a_local_configuration_is_secret_when_it_holds_a_secret(root, content, is_found):
    path = root / ".dvc" / "config.local"
    path.write_text(content)
    path.chmod(0o644)
    assert bool(list(look(root))) == is_found
