"""The command line teaches, starts fast, and answers a slip with one sentence."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import hyperskin
from hyperskin.cli import _load, main
from hyperskin.commands.init import shipped_params

HEAVY = ("torch", "mlflow", "prefect", "optuna", "numpy", "scipy", "pydantic", "matplotlib")


def _run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hyperskin.cli", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom hyperskin.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"assert not [name for name in {HEAVY} if name in sys.modules], sys.modules.keys()"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "dvc repro" in result.stdout


def test_the_package_itself_imports_nothing() -> None:
    script = "import sys; before = set(sys.modules); import hyperskin; print(sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['hyperskin']"


@pytest.mark.parametrize("stage", ["acquire", "calibrate", "render", "mask", "split", "manifest"])
def test_a_stage_loads_neither_torch_nor_mlflow(stage: str) -> None:
    script = (
        f"import sys, hyperskin.steps.{stage}\n"
        "assert not [n for n in ('torch', 'mlflow', 'prefect', 'optuna', 'matplotlib') if n in sys.modules]"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_version_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == hyperskin.__version__


def test_a_verb_shows_its_own_explanation(tmp_path: Path) -> None:
    result = _run("init", "--help", folder=tmp_path)
    assert result.returncode == 0
    assert "A source says where captures come from" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("innit",), 2, "there is no verb 'innit'; did you mean 'init'?"),
        (("init", "--sourc", "cave"), 2, "Did you mean --source?"),
        (("init", "--source", "cave", "--path", "nowhere"), 1, "`--path` must be a folder with captures"),
        (("acquire", "data/sources", "data/raw"), 1, "Parameters must be in params.yaml"),
    ],
)
def test_a_slip_is_one_sentence_and_an_exit_code(
    tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = _run(*arguments, folder=tmp_path)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("inside", [True, False])
def test_caches_lie_at_the_root_of_the_repository_and_else_here(tmp_path: Path, inside: bool) -> None:
    folder = tmp_path / "docs" / "pictures"
    folder.mkdir(parents=True)
    if inside:
        (tmp_path / "params.yaml").touch()
        (tmp_path / "dvc.yaml").touch()
    script = (
        "import os\nfrom hyperskin.cli import main\n"
        "try:\n    main(['--version'])\nexcept SystemExit:\n    pass\n"
        "print(*(os.environ[name] for name in ('MPLCONFIGDIR', 'DVC_SITE_CACHE_DIR', 'PREFECT_HOME')), sep='\\n')"
    )
    ours = ("MPLCONFIGDIR", "DVC_SITE_CACHE_DIR", "PREFECT_HOME")
    bare = {name: value for name, value in os.environ.items() if name not in ours}
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=bare, capture_output=True, text=True, check=True
    )
    home = tmp_path if inside else folder
    expected = [home / ".cache" / "matplotlib", home / ".cache" / "dvc", home / ".prefect"]
    assert [Path(line) for line in result.stdout.splitlines()[-3:]] == expected


@pytest.mark.parametrize(("signals", "code"), [((), 130), ((signal.SIGINT,), 130), ((signal.SIGTERM,), 143)])
def test_a_request_to_end_is_told_in_one_word_and_by_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signals: tuple[int, ...], code: int
) -> None:
    def stopped(**_: object) -> None:
        raise KeyboardInterrupt(*signals)

    monkeypatch.setattr("hyperskin.commands.ui.ui", stopped)
    with pytest.raises(SystemExit) as caught:
        main(["ui"])
    assert caught.value.code == code
    assert capsys.readouterr().err == "hyperskin: stopped.\n"


def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(shipped_params())
    (tmp_path / "data/sources/folder.json").mkdir(parents=True)
    result = _run("acquire", "data/sources", "data/raw", folder=tmp_path)
    assert result.returncode == 1
    assert result.stderr == "hyperskin: data/sources/folder.json cannot be used: Is a directory.\n"


def test_a_thread_that_still_waits_for_mlflow_does_not_hold_up_the_end(tmp_path: Path) -> None:
    script = (
        "import sys, threading, time\nfrom hyperskin import cli\nimport hyperskin.tracking.courier\n"
        "def leave_one_behind(_):\n    threading.Thread(target=time.sleep, args=[60], name='courier of x').start()\n"
        "    print('done')\n    sys.exit(int(sys.argv[1]))\n"
        "cli._run = leave_one_behind\ncli.main()"
    )
    for code in (0, 3):
        command = [sys.executable, "-c", script, str(code)]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
        assert (result.returncode, result.stdout) == (code, "done\n")


def test_an_error_that_a_library_makes_of_an_interruption_is_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped_deep_inside(**_: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise LookupError("the transaction must be rolled back")

    monkeypatch.setattr("hyperskin.commands.ui.ui", stopped_deep_inside)
    with pytest.raises(SystemExit) as caught:
        main(["ui"])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "hyperskin: stopped.\n"


def test_an_error_of_our_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise LookupError("no one thought of this")

    monkeypatch.setattr("hyperskin.commands.ui.ui", broken)
    with pytest.raises(LookupError, match="no one"):
        main(["ui"])


def test_whoever_asks_a_verb_to_end_while_it_loads_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, object]] = []
    monkeypatch.setattr(
        "hyperskin.cli.importlib.import_module", lambda name: heard.append((name, signal.getsignal(signal.SIGINT)))
    )
    _load(["models", "promote", "--help"])
    assert heard == [("hyperskin.commands.models", signal.SIG_DFL)]
