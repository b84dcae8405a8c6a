"""Results go where they may, all at once or not at all, and never over those of another file."""

import json

import pytest

from hyperskin.atomic import find_stale, remove_stale, write_text
from hyperskin.errors import ConsentError, DataError
from hyperskin.steps.skin_folder import all_at_once, choose_folder, require_free


def about(name="a.h5", method="inverse", **more):
    return {"made_from": {"input": name}, "method": method, "parameters": {}, **more}


def write(folder, *names, said=None):
    with all_at_once(folder, said or about()) as stage:
        for name in names:
            write_text(stage / name, name)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_who_may_be_shown_goes_to_reports_and_others_among_the_data(tmp_path):
    assert choose_folder(tmp_path, "a", None) == tmp_path / "reports" / "skin" / "a"
    assert choose_folder(tmp_path, "a", None, unshown="p1") == tmp_path / "data" / "skin" / "a"
    assert choose_folder(tmp_path, "a", tmp_path / "mine") == tmp_path / "mine"


@pytest.mark.parametrize("way", ["mine", "data", "data/../mine", "data/cubes/p1", "data/skin/out/a"])
def test_who_may_not_be_shown_leaves_data_skin_by_no_way(tmp_path, way):
    kept = tmp_path / "data" / "skin"
    kept.mkdir(parents=True)
    (kept / "out").symlink_to(tmp_path)
    assert choose_folder(tmp_path, "a", kept / "mine", unshown="p1") == kept / "mine"
    with pytest.raises(ConsentError, match=r"Maps of p1, who is not in .* must stay below data/skin; got"):
        choose_folder(tmp_path, "a", tmp_path / way, unshown="p1")


@pytest.mark.parametrize("way", ["data", "data/cubes/p1", "data/skin/../raw"])
def test_nobody_writes_among_what_stages_write(tmp_path, way):
    (tmp_path / "data" / "skin").mkdir(parents=True)
    with pytest.raises(DataError, match="`--out` must leave data/ to the stages"):
        choose_folder(tmp_path, "a", tmp_path / way)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"`--out` must be a folder; .*file is a file"):
        choose_folder(tmp_path, "a", tmp_path / "file")


def test_all_files_come_with_what_they_are_and_for_their_owner_alone(tmp_path):
    write(tmp_path / "new" / "a", "maps.npz", "panel.png")
    said = json.loads((tmp_path / "new" / "a" / "about.json").read_text())
    assert said["files"] == names_in(tmp_path / "new" / "a") == ["about.json", "maps.npz", "panel.png"]
    assert (tmp_path / "new" / "a").stat().st_mode & 0o077 == 0
    assert names_in(tmp_path / "new") == ["a"]


def test_a_first_run_that_fails_leaves_no_folder(tmp_path):
    def fail():
        with all_at_once(tmp_path / "a", about()) as stage:
            write_text(stage / "maps.npz", "half of it")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError])
def test_a_failure_leaves_everything_as_it_was(tmp_path, failure):
    folder = tmp_path / "a"
    write(folder, "maps.npz")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail():
        with all_at_once(folder, about(method="beer_lambert")) as stage:
            write_text(stage / "maps.npz", "half of it")
            raise failure

    with pytest.raises(failure):
        fail()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert names_in(tmp_path) == ["a"]


def test_another_format_of_the_same_reading_stays_and_another_method_replaces(tmp_path):
    (tmp_path / "mine.txt").write_text("a person's")
    write(tmp_path, "maps.npz", "change_since_b.csv", said=about(against={"b": 1}))
    write(tmp_path, "blood.tif", said=about(against={"c": 2}))
    said = json.loads((tmp_path / "about.json").read_text())
    assert said["files"] == ["about.json", "blood.tif", "change_since_b.csv", "maps.npz"]
    assert said["against"] == {"b": 1, "c": 2}
    write(tmp_path, "maps.npz", said=about(method="beer_lambert"))
    assert names_in(tmp_path) == ["about.json", "maps.npz", "mine.txt"]
    assert "against" not in json.loads((tmp_path / "about.json").read_text())


def test_names_in_a_forged_list_reach_no_other_folder(tmp_path):
    (tmp_path / "precious").write_text("")
    write_text(tmp_path / "a" / "about.json", json.dumps({"files": ["../precious", "/etc/hosts"], "method": "x"}))
    write(tmp_path / "a", "maps.npz")
    assert (tmp_path / "precious").is_file()


def test_results_of_another_file_are_not_lost(tmp_path):
    write(tmp_path / "a", "maps.npz", said=about("here/a.jpg"))
    require_free(tmp_path / "a", "here/a.jpg")
    require_free(tmp_path / "b", "there/a.jpg")
    with pytest.raises(DataError, match=r"holds the maps of here/a\.jpg; those of there/a\.jpg must go elsewhere"):
        require_free(tmp_path / "a", "there/a.jpg")
    (tmp_path / "a" / "about.json").write_text("no JSON")
    require_free(tmp_path / "a", "there/a.jpg")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    (tmp_path / "a" / "panel.png").mkdir(parents=True)
    with pytest.raises(DataError, match=r"panel\.png must be a file or nothing; it is a folder"):
        write(tmp_path / "a", "maps.npz", "panel.png")
    assert names_in(tmp_path / "a") == ["panel.png"]


def test_what_a_killed_process_left_is_swept(tmp_path, monkeypatch):
    with all_at_once(tmp_path / "a", about()) as stage:
        write_text(stage / "maps.npz", "half of it")
        assert not find_stale(tmp_path), "its writer lives"
        monkeypatch.setattr("hyperskin.atomic._is_alive", lambda pid: False)
        assert find_stale(tmp_path) == [stage]
        assert remove_stale(tmp_path) == 1
        assert not stage.exists()
        stage.mkdir()
