"""The champion changes by a better score on the same test set, or by a person's word, and every change is told."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
from mlflow import MlflowClient

from hyperskin.errors import MissingFileError, UnknownNameError, VersionError
from hyperskin.pairs import find_pair
from hyperskin.tracking import promotion, stored
from hyperskin.tracking.champion import load_champion
from hyperskin.tracking.history import read_history
from hyperskin.tracking.promotion import CHAMPION, find_champion, promote, promote_by_hand, roll_back
from hyperskin.tracking.registry import register
from hyperskin.tracking.store import EXPERIMENT

NAME = "hyperskin-rgb-vis"


@pytest.fixture
def champion(uri):
    """Tell who is champion."""
    return lambda: str(MlflowClient(uri).get_model_version_by_alias(NAME, CHAMPION).version)


@pytest.fixture
def history(uri):
    """Tell who became champion how, oldest first."""
    return lambda: [(change.version, change.by) for change in read_history(MlflowClient(uri), NAME)]


@pytest.fixture(autouse=True)
def _files_are_intact(monkeypatch):
    """Versions of these tests have no file."""
    monkeypatch.setattr(stored, "require_intact", lambda uri, version: None)


# by score


def _seen(camera: str, competing: str = "cie") -> dict[str, str]:
    return {"cameras": f"{camera}, more", "test_camera": camera, "champion_camera": competing}


def test_a_version_that_another_camera_examined_never_competes_whoever_comes_first(uri, add_version, champion):
    refused = promote(uri, NAME, add_version({"sam/masked": 0.01}, tags=_seen("phone")))
    assert refused.reason.startswith(
        f"Version 1 of {NAME} was examined with pictures of phone, and champions are with those of cie, the first"
    )
    assert promote(uri, NAME, add_version({"sam/masked": 0.2}, tags=_seen("cie"))).is_champion
    assert not promote(uri, NAME, add_version({"sam/masked": 0.02}, tags=_seen("phone"))).is_champion
    assert promote(uri, NAME, add_version({"sam/masked": 0.1}, tags=_seen("cie"))).is_champion
    assert champion() == "4"
    version = MlflowClient(uri).get_model_version(NAME, "4")
    assert version.tags.items() >= _seen("cie").items()


def test_champions_of_two_cameras_are_not_compared(uri, add_version, champion):
    promote(uri, NAME, add_version({"sam/masked": 0.2}, {"p1": 0.2}, tags=_seen("cie")))
    other = promote(uri, NAME, add_version({"sam/masked": 0.1}, {"p1": 0.1}, tags=_seen("phone", "phone")))
    assert not other.is_champion
    assert "examined with pictures of different cameras (phone, cie), so neither is better" in other.reason
    by_hand = promote_by_hand(uri, NAME, "2", because="the phone is what we have")
    assert by_hand.reason.endswith("not tested: they were examined with pictures of different cameras.")
    assert champion() == "2"


def test_versions_from_before_cameras_were_told_compete_as_they_did(uri, add_version, champion):
    promote(uri, NAME, add_version({"sam/masked": 0.2}))
    assert promote(uri, NAME, add_version({"sam/masked": 0.1}, tags=_seen("cie"))).is_champion
    assert champion() == "2"


def test_better_version_becomes_champion_and_a_worse_or_equal_one_does_not(uri, add_version, champion, history):
    assert promote(uri, NAME, add_version({"sam/masked": 0.10})).reason.endswith("0.1000, there was none.")
    worse = promote(uri, NAME, add_version({"sam/masked": 0.11, "ssim/masked": 0.99}))
    assert not worse.is_champion
    assert "0.1100, not below the 0.1000 of the champion, version 1 (mst_plus_plus)" in worse.reason
    assert not promote(uri, NAME, add_version({"sam/masked": 0.10})).is_champion
    assert champion() == "1"
    better = add_version({"sam/masked": 0.09, "ssim/masked": 0.10})
    assert promote(uri, NAME, better).is_champion
    assert champion() == better == "4"
    assert promote(uri, NAME, better).reason.endswith("is the champion already.")
    assert history() == [("1", "score"), ("4", "score")]


def test_score_on_another_test_set_moves_nothing(uri, add_version, champion):
    promote(uri, NAME, add_version({"sam/masked": 0.10}))
    other = promote(uri, NAME, add_version({"sam/masked": 0.01}, evaluation="test-set-b"))
    assert not other.is_champion
    assert "different test sets" in other.reason
    assert "`hyperskin models promote hyperskin-rgb-vis 2`" in other.reason
    assert champion() == "1"


def test_angle_over_everything_decides_where_there_is_no_mask(uri, add_version):
    promote(uri, NAME, add_version({"sam/full": 0.10}))
    assert promote(uri, NAME, add_version({"sam/full": 0.09})).is_champion


def test_a_network_trained_elsewhere_is_champion_by_a_persons_word_alone(uri, add_version, champion, history):
    elsewhere = {"pretrained": "ntire.pth", "pretrained.sha256": "ab" * 32}
    first = add_version({"sam/masked": 0.10}, tags=elsewhere)
    refused = promote(uri, NAME, first)
    assert not refused.is_champion
    assert "Version 1 was trained elsewhere, perhaps on the people that it is examined on" in refused.reason
    assert f"`hyperskin models promote {NAME} 1` does" in refused.reason
    assert find_champion(MlflowClient(uri), NAME) is None
    promote(uri, NAME, add_version({"sam/masked": 0.20}))
    assert not promote(uri, NAME, add_version({"sam/masked": 0.01}, tags=elsewhere)).is_champion
    assert champion() == "2"
    assert promote_by_hand(uri, NAME, "3", because="it has seen nobody here").is_champion
    assert promote(uri, NAME, add_version({"sam/masked": 0.005})).is_champion
    assert history() == [("2", "score"), ("3", "hand"), ("4", "score")]


def test_version_without_a_score_is_never_champion(uri, add_version):
    result = promote(uri, NAME, add_version({"ssim/full": 0.9}))
    assert not result.is_champion
    assert "has no sam/full" in result.reason
    assert find_champion(MlflowClient(uri), NAME) is None


def test_promotion_says_what_the_subjects_say_and_keeps_it_with_the_version(uri, add_version):
    promote(uri, NAME, add_version({"sam/masked": 0.2}, {"p001": 0.1, "p002": 0.2, "p003": 0.3}))
    version = add_version({"sam/masked": 0.1}, {"p001": 0.05, "p002": 0.1, "p003": 0.15})
    said = promote(uri, NAME, version).reason
    assert said == (
        "Version 2 of hyperskin-rgb-vis is the champion: sam/masked 0.1000, 0.2000 before; better on 3 of 3 subjects, "
        "p 0.25; with 3 subjects p cannot be below 0.25."
    )
    tags = MlflowClient(uri).get_model_version(NAME, version).tags
    assert {key: value for key, value in tags.items() if key.startswith("paired.")} == {
        "paired.against": "1",
        "paired.subjects": "3",
        "paired.better": "3",
        "paired.mean_difference": "-0.1",
        "paired.p": "0.25",
    }


def test_score_decides_where_the_subjects_are_not_known_and_no_older_test_stays(uri, add_version):
    promote(uri, NAME, add_version({"sam/masked": 0.3}, {"p001": 0.1}))
    promote(uri, NAME, (second := add_version({"sam/masked": 0.2}, {"p001": 0.2})))
    promote_by_hand(uri, NAME, (third := add_version({"sam/masked": 0.1})))
    assert "not tested: the run of version 3 has no per_subject.json" in promote_by_hand(uri, NAME, second).reason
    tags = MlflowClient(uri).get_model_version(NAME, second).tags
    assert {key: value for key, value in tags.items() if key.startswith("paired.")} == {
        "paired.against": third,
        "paired.result": "not tested: the run of version 3 has no per_subject.json",
    }


def test_of_trainings_that_end_together_the_best_is_champion(uri, add_version, champion, monkeypatch):
    versions = [add_version({"sam/masked": 0.1 + index / 100}) for index in range(4)]
    together = threading.Barrier(len(versions))

    def run(version):
        together.wait()
        promote(uri, NAME, version)

    threads = [threading.Thread(target=run, args=[version]) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert champion() == versions[0]


def test_champion_that_changes_during_the_comparison_is_compared_again(uri, add_version, champion, monkeypatch):
    promote(uri, NAME, add_version({"sam/masked": 0.3}))
    worse, better = add_version({"sam/masked": 0.2}), add_version({"sam/masked": 0.1})
    real = promotion._compare

    def compare(client, challenger, present, key):
        if str(present.version) == "1":
            client.set_registered_model_alias(NAME, CHAMPION, better)
        return real(client, challenger, present, key)

    monkeypatch.setattr(promotion, "_compare", compare)
    assert "not below the 0.1000 of the champion, version 3" in promote(uri, NAME, worse).reason
    assert champion() == better


# by hand


def test_a_person_may_choose_across_test_sets(uri, add_version, champion, history):
    promote(uri, NAME, add_version({"sam/masked": 0.1}))
    version = add_version({"sam/masked": 0.3}, evaluation="test-set-b")
    said = promote_by_hand(uri, NAME, version, because="the new archive.").reason
    assert said == (
        "Version 2 of hyperskin-rgb-vis is the champion, by hand (the new archive); version 1 was; "
        "not tested: they were scored on different test sets."
    )
    assert champion() == version
    assert history() == [("1", "score"), ("2", "hand")]
    assert read_history(MlflowClient(uri), NAME)[-1].reason == "the new archive"
    assert "| by | why |" in (told := MlflowClient(uri).get_registered_model(NAME).description)
    assert "| hand | the new archive |" in told
    assert promote_by_hand(uri, NAME, version).reason.endswith("already.")
    assert history() == [("1", "score"), ("2", "hand")]


@pytest.mark.parametrize("error", [VersionError, MissingFileError])
def test_a_version_whose_file_is_not_the_registered_one_is_not_chosen(
    uri, add_version, champion, history, monkeypatch, error
):
    promote(uri, NAME, add_version({"sam/masked": 0.1}))
    promote(uri, NAME, add_version({"sam/masked": 0.05}))

    def refuse(uri, version):
        raise error("no")

    monkeypatch.setattr(stored, "require_intact", refuse)
    with pytest.raises(error):
        promote_by_hand(uri, NAME, "1")
    with pytest.raises(error):
        roll_back(uri, NAME)
    assert champion() == "2"
    assert len(history()) == 2


def test_unknown_names_list_the_known_ones(uri, add_version):
    with pytest.raises(UnknownNameError, match=r"one of none yet; got 'hyperskin-rgb-vis'"):
        roll_back(uri, NAME)
    add_version({"sam/masked": 0.1})
    add_version({"sam/masked": 0.1})
    with pytest.raises(UnknownNameError, match=r"hyperskin-rgb-vis's, 1, 2; got '7'"):
        promote_by_hand(uri, NAME, "7")
    with pytest.raises(UnknownNameError, match=r"one of hyperskin-rgb-vis; got 'other'"):
        promote_by_hand(uri, "other", "1")


# back


def test_rollback_goes_one_champion_back_and_then_another(uri, add_version, champion, history):
    for angle in (0.3, 0.2, 0.1):
        promote(uri, NAME, add_version({"sam/masked": angle}))
    assert roll_back(uri, NAME).reason == (
        "Version 2 of hyperskin-rgb-vis is the champion again; version 3 taken back."
    )
    assert roll_back(uri, NAME).is_champion
    assert champion() == "1"
    assert history()[3:] == [("2", "rollback"), ("1", "rollback")]
    with pytest.raises(VersionError, match="of hyperskin-rgb-vis none is known"):
        roll_back(uri, NAME)


def test_rollback_steps_over_a_version_that_was_deleted(uri, add_version, champion):
    for angle in (0.3, 0.2, 0.1):
        promote(uri, NAME, add_version({"sam/masked": angle}))
    MlflowClient(uri).delete_model_version(NAME, "2")
    roll_back(uri, NAME)
    assert champion() == "1"


def test_rollback_undoes_a_choice_made_in_mlflow_itself(uri, add_version, champion):
    promote(uri, NAME, add_version({"sam/masked": 0.1}))
    MlflowClient(uri).set_registered_model_alias(NAME, CHAMPION, add_version({"sam/masked": 0.3}))
    roll_back(uri, NAME)
    assert champion() == "1"


def test_what_was_taken_back_does_not_return_by_its_score(uri, add_version, champion):
    promote(uri, NAME, add_version({"sam/masked": 0.2}))
    promote(uri, NAME, add_version({"sam/masked": 0.1}))
    roll_back(uri, NAME)
    again = promote(uri, NAME, "2")
    assert not again.is_champion
    assert "a person replaced it" in again.reason
    assert champion() == "1"
    assert promote(uri, NAME, add_version({"sam/masked": 0.15})).is_champion


# through a server


@pytest.fixture
def server(tmp_path):
    """Return the address of an MLflow server with a store of its own, and the folder of its files."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)),
        *(
            "--backend-store-uri",
            f"sqlite:///{tmp_path / 'server.db'}",
            "--artifacts-destination",
            str(tmp_path / "files"),
        ),
    ]
    address = f"http://127.0.0.1:{port}"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
        try:
            deadline = time.monotonic() + 120
            while not _is_healthy(address):
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
            yield address, tmp_path / "files"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _is_healthy(address):
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_through_a_server_versions_are_registered_compared_chosen_and_checked(
    server, provenance, small_network, monkeypatch
):
    monkeypatch.undo()  # files are not intact for nothing here
    address, files = server
    client = MlflowClient(address)
    experiment = client.create_experiment(EXPERIMENT)

    def add(angles):
        tags = dataclasses.asdict(provenance) | {"git.commit": "none"}
        run = client.create_run(experiment, tags=tags)
        client.log_param(run.info.run_id, "model", "hrnet")
        client.log_metric(run.info.run_id, "sam/masked", sum(angles.values()) / len(angles))
        table = {"columns": ["subject", "sam/masked"], "data": [list(row) for row in angles.items()]}
        client.log_text(run.info.run_id, json.dumps(table), "per_subject.json")
        fields = {"manifest": provenance.manifest, "parameter_count": 1, "size_multiple": 1}
        return register(address, small_network(3, 31), run_id=run.info.run_id, pair=find_pair("rgb_vis"), **fields)

    first, second = add({"p001": 0.2, "p002": 0.3}), add({"p001": 0.1, "p002": 0.2})
    assert promote(address, NAME, first).is_champion
    assert "better on 2 of 2 subjects, p 0.5" in promote(address, NAME, second).reason
    assert roll_back(address, NAME).is_champion
    champion = load_champion(address, find_pair("rgb_vis"), evaluation=provenance.evaluation)
    assert champion.version == first
    assert champion.reconstruct(np.zeros((8, 9, 3), dtype=np.float32)).shape == (8, 9, 31)
    for file in files.rglob("model.pt2"):
        file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(VersionError, match="must be the file that was registered"):
        promote_by_hand(address, NAME, second)
    for file in files.rglob("model.pt2"):
        file.unlink()
    with pytest.raises(MissingFileError):
        promote_by_hand(address, NAME, second)
