"""Everything at once: the demo, from nothing to a table and a sheet, and again in seconds."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tqdm import tqdm

from hyperskin.commands import demo as demo_module
from hyperskin.commands.demo import demo
from hyperskin.commands.init import shipped_params
from hyperskin.errors import ParamsError

sys.path.insert(0, str(Path(__file__).parent.parent / "steps"))
from conftest import ROOT, Project, make_project

QUICK = {
    "  seconds: 75": "  seconds: 2",
    "steps_per_epoch: 100": "steps_per_epoch: 2",
    "crop_px: 32": "crop_px: 16",
    "width: 8": "width: 4",
    "blocks: 3": "blocks: 1",
    "kinds: [mean, linear, polynomial, root_polynomial]": "kinds: [mean, linear]",
}


def test_it_is_refused_for_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "params.yaml").write_text(shipped_params().replace("name: phantom", "name: lumo", 1))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match=r"The demo shows the phantom; params.yaml is set up for 'lumo': run"):
        demo()


def _follow(*lines: str) -> tuple[str, str, int]:
    """Return what the log and the terminal got, and how far the bar went."""
    log, terminal = io.StringIO(), io.StringIO()
    with tqdm(total=3, file=io.StringIO()) as bar, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        for line in lines:
            demo_module._follow(line, log, bar)
        return log.getvalue(), terminal.getvalue(), bar.n


def test_a_person_sees_scores_and_warnings_and_the_log_has_all() -> None:
    score = "12:00:01.123 | INFO    | Task run 'train hrnet on rgb_vis' - hrnet on rgb_vis: sam/masked 0.1000 (9 s)"
    epoch = "12:00:01.123 | INFO    | Task run 'train hrnet on rgb_vis' - epoch 1: train/loss 0.1, val_sam/full 0.2"
    warning = "12:00:01.123 | WARNING | Task run 'train hrnet on rgb_vis' - look at this"
    broken = "12:00:01.123 | ERROR   | Flow run 'quick-fox' - the disk is full"
    state = "12:00:01.123 | ERROR   | Task run 'train hrnet on rgb_vis' - Finished in state Failed('it is full')"
    lines = (epoch, score, warning, broken, state, "a line of nobody")
    log, terminal, done = _follow(*lines)
    assert log.splitlines() == list(lines)
    assert terminal.splitlines() == ["hrnet on rgb_vis: sam/masked 0.1000 (9 s)", "look at this", "the disk is full"]
    assert done == 1


@pytest.mark.parametrize(
    ("networks", "slots", "seconds", "expected"), [(6, 2, 75.0, 300.0), (5, 2, 75.0, 300.0), (0, 2, 75.0, 30.0)]
)
def test_the_time_left_counts_rounds_of_trainings(networks: int, slots: int, seconds: float, expected: float) -> None:
    assert demo_module._expect(networks, slots, seconds) == expected
    assert demo_module._expect(networks, slots, None) is None


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (60, "1 min 0 s"), (366, "6 min 6 s")])
def test_times_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert demo_module._clock(seconds) == text


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Three small people with one capture each, and trainings of two seconds."""
    project = make_project(tmp_path_factory.mktemp("demo") / "project")
    project.run("hyperskin", "init", "--subjects", "3", "--captures", "neutral_front", "--size", "32", "--overwrite")
    for old, new in QUICK.items():
        project.edit(old, new)
    return project


@pytest.mark.slow
def test_the_demo_ends_with_a_table_a_sheet_and_what_to_try_and_the_second_call_does_nothing(small: Project) -> None:
    first = small.run("hyperskin", "demo")
    for line in (
        "## rgb_vis, test set",
        "## msi_nir, test set",
        "What you see.",
        "Try next",
        "http://127.0.0.1:5000/#/",
        "reports/report.html",
    ):
        assert line in first.stdout
    assert "12 models, 2 at a time" in first.stderr
    assert "Traceback" not in first.stdout + first.stderr
    assert "12 finished runs" in (small.root / "reports/report.md").read_text()
    sheet = small.root / "reports/overview.png"
    made = sheet.stat().st_mtime_ns
    second = small.run("hyperskin", "demo")
    assert "every model is finished already" in second.stderr
    assert "## rgb_vis, test set" in second.stdout
    assert sheet.stat().st_mtime_ns == made
    assert "Training: 12" not in second.stderr
    assert "Report:" not in second.stderr


@pytest.mark.slow
def test_parameters_that_come_back_bring_their_own_table(small: Project, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", small.scenes, small.masks)
    shutil.copytree(small.root, project.root, symlinks=True)
    (project.root / "reports/.demo").write_text("of other work\n")
    (project.root / "reports/comparison.md").write_text("an old table\n")
    again = project.run("hyperskin", "demo")
    assert "every model is finished already" in again.stderr
    assert "## rgb_vis, test set" in again.stdout
    assert "an old table" not in again.stdout


def test_a_request_to_end_ends_the_stages_too(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.run("hyperskin", "init", "--subjects", "40", "--size", "64", "--overwrite")
    command = [sys.executable, "-m", "hyperskin.cli", "demo"]
    environment = {**os.environ, "PYTHONPATH": str(project.root), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(command, cwd=project.root, env=environment, stderr=subprocess.PIPE, text=True) as process:
        _wait_for(lambda: any((project.root / "data").glob("raw/*/*.json")))
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert said.rstrip().endswith("hyperskin: stopped.")
    made = _captures(project.root)
    time.sleep(2)
    assert _captures(project.root) == made, "a stage goes on writing"


def _captures(root: Path) -> int:
    return sum(1 for _ in (root / "data/raw").glob("*/*.json"))


def _wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.2)


@pytest.mark.slow
def test_a_failure_is_one_sentence(small: Project, tmp_path: Path) -> None:
    project = Project(tmp_path / "project", small.scenes, small.masks)
    shutil.copytree(small.root, project.root, symlinks=True)
    project.edit("subjects: 3", "subjects: 4")
    result = project.run("hyperskin", "demo", check=False)
    assert result.returncode == 1
    assert "run `hyperskin init --rescan`" in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith("hyperskin: `dvc repro` must end well")


def test_the_shipped_repository_can_run_it() -> None:
    text = (ROOT / "params.yaml").read_text()
    assert text == shipped_params()
    for old in QUICK:
        assert old in text, "this file's short cut must follow the shipped parameters"
