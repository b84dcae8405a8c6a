"""Each thing that can be wrong is found, it alone, and nothing is changed by looking."""

import os

import pytest

from hyperskin.health.examine import QUESTIONS, examine, mend
from hyperskin.health.finding import Finding
from tests.health.repository import DAMAGES


def _bytes_of(root):
    return {path: (path.lstat().st_mode, path.is_file() and path.read_bytes()) for path in sorted(root.rglob("*"))}


def test_nothing_is_found_in_a_healthy_repository(root, found):
    assert found(root) == []


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_what_is_wrong_is_found_and_nothing_else(root, found, damage, monkeypatch):
    environment: dict[str, str] = {}
    damage.do(root, environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if "PYTHONPATH" in environment:
        monkeypatch.syspath_prepend(environment["PYTHONPATH"])
    before = _bytes_of(root)
    [finding] = found(root)
    assert (finding.check, finding.severity) == (damage.check, damage.severity)
    assert damage.words in finding.what
    assert finding.what.endswith(".")
    assert finding.remedy
    assert (finding.fix is not None) == damage.is_mended
    assert _bytes_of(root) == before
    if finding.fix is not None:
        assert finding.fix()
        assert found(root) == []


def test_every_check_is_there_and_is_asked_by_its_own_damage(root):
    assert list(examine(root).looked_at) == list(QUESTIONS)
    assert {damage.check for damage in DAMAGES} | {"machine"} == set(QUESTIONS)


def test_looking_into_an_empty_folder_makes_nothing(tmp_path):
    assert examine(tmp_path).count("broken")
    assert list(tmp_path.iterdir()) == []


def _boom(root):
    yield Finding("", "broken", "Something is wrong.", "mend it")
    raise RuntimeError("out of order\nand more")


def test_a_check_that_fails_is_a_finding_and_hides_nothing(tmp_path):
    report = examine(tmp_path, checks={"a": _boom, "b": _boom, "c": lambda root: iter(())})
    assert [(one.check, one.severity) for one in report.findings] == [
        ("a", "broken"),
        ("b", "broken"),
        ("a", "warning"),
    ]
    said = "The checks a and b did not come to an end, because RuntimeError: out of order."
    assert report.findings[-1].what == said


def test_a_missing_package_is_named(tmp_path):
    def look(root):
        import there_is_no_such_package.at_all  # noqa: F401 - never

        yield

    [finding] = examine(tmp_path, checks={"a": look}).findings
    assert "there_is_no_such_package is not installed" in finding.what
    assert finding.remedy == "pip install there_is_no_such_package"


def test_a_check_that_hangs_costs_no_more_than_the_patience(tmp_path):
    reader, writer = os.pipe()
    try:
        report = examine(tmp_path, checks={"a": _boom, "b": lambda root: os.read(reader, 1)}, patience_s=0.3)
    finally:
        os.close(writer)
    assert report.seconds < 1
    assert report.findings[-1].what == "The check b did not come to an end, because it took longer than 0.3 s."


def test_what_cannot_be_mended_is_left_and_keeps_nothing_from_being_mended(tmp_path):
    def fails():
        raise PermissionError("not yours")

    def look(root):
        yield Finding("", "broken", "A.", "a", fails)
        yield Finding("", "broken", "B.", "b", lambda: "B is mended.")
        yield Finding("", "warning", "C.", "c")

    done, left = mend(examine(tmp_path, checks={"a": look}))
    assert done == ["B is mended."]
    assert {one.what for one in left} == {"C.", "A. It could not be mended: PermissionError: not yours."}
