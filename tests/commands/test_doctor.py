"""All that is wrong is said at once, in seconds; what is safe is mended, and the rest is left to a person."""

import json
import os
import subprocess
import sys

import pytest

from hyperskin.health.examine import QUESTIONS
from tests.health import conftest
from tests.health.repository import DAMAGES

template, root = conftest.template, conftest.root  # fixtures

TOGETHER = [damage for damage in DAMAGES if not damage.stands_alone]
SLOWEST_S = 10.0


def _doctor(root, *options, environment=None, module="hyperskin.cli doctor"):
    return subprocess.run(
        [sys.executable, "-P", "-m", *module.split(), *options],
        cwd=root,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def _read(result):
    said = json.loads(result.stdout)
    said["findings"] = [one for one in said["findings"] if not one["what"].startswith(conftest.OF_THE_MACHINE)]
    return said


def _find(damages, findings):
    """Return those of `damages` that exactly one finding tells of."""
    return [damage for damage in damages if sum(damage.words in one["what"] for one in findings) == 1]


def test_a_healthy_repository_is_said_to_be_healthy(root):
    result = _doctor(root)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"Looked at {root} for ")
    assert [line.split()[0] for line in lines[1 : 1 + len(QUESTIONS)]] == list(QUESTIONS)
    assert _read(_doctor(root, "--json"))["findings"] == []


def test_everything_at_once_is_found_in_seconds_and_what_is_safe_is_mended(root, capsys):
    environment: dict[str, str] = {}
    for damage in TOGETHER:
        damage.do(root, environment)
    first = _doctor(root, "--json", environment=environment)
    said = _read(first)
    found = _find(TOGETHER, said["findings"])
    with capsys.disabled():
        sys.stdout.write(f"\ndoctor: {len(found)} of {len(TOGETHER)} found in {said['seconds']:.1f} s\n")
    assert len(TOGETHER) >= 15
    assert found == TOGETHER
    assert len(said["findings"]) == len(TOGETHER)
    assert (first.returncode, first.stderr) == (1, "")
    assert said["seconds"] < SLOWEST_S
    severities = [one["severity"] for one in said["findings"]]
    assert severities == sorted(severities)  # the broken ones first

    mended = [damage for damage in TOGETHER if damage.is_mended]
    rest = [damage for damage in TOGETHER if not damage.is_mended]
    fixed = _read(_doctor(root, "--fix", "--json", environment=environment))
    assert fixed["mended"]
    assert _find(rest, fixed["findings"]) == rest
    assert len(fixed["findings"]) == len(rest)
    again = _read(_doctor(root, "--json", environment=environment))
    assert _find(TOGETHER, again["findings"]) == rest
    assert len(again["findings"]) == len(rest)
    assert mended


def test_what_is_broken_is_said_with_what_to_do(root):
    (root / ".env").chmod(0o644)
    broken = _doctor(root)
    assert broken.returncode == 1
    assert "  - The file .env holds a secret and must be closed to other users; its mode is 644." in broken.stdout
    assert "      do: chmod 600 .env\n" in broken.stdout
    assert "`hyperskin doctor --fix` mends 1 of them." in broken.stdout
    fixed = _doctor(root, "--fix")
    assert fixed.returncode == 0
    assert "MENDED\n  - .env is closed to other users (mode 600).\n" in fixed.stdout
    assert (root / ".env").stat().st_mode & 0o777 == 0o600


def test_warnings_alone_are_no_failure(root):
    result = _doctor(root, environment={"DO_NOT_TRACK": "0"})
    assert result.returncode == 0
    assert "0 broken, " in result.stdout
    assert "WARNING" in result.stdout


@pytest.mark.parametrize("module", ["hyperskin.cli doctor", "hyperskin.commands.doctor"])
def test_without_parameters_all_else_is_looked_at(root, module):
    (root / "params.yaml").unlink()
    (root / ".env").chmod(0o644)
    (root / ".git").mkdir()
    said = _read(_doctor(root / "data", "--json", module=module))
    assert said["root"] == str(root)
    assert [one["check"] for one in said["findings"]] == ["settings", "privacy"]
    assert said["findings"][0]["remedy"] == "git checkout params.yaml"


@pytest.mark.parametrize("module", ["hyperskin.cli doctor", "hyperskin.commands.doctor"])
def test_outside_of_a_repository_it_says_so_in_one_sentence(tmp_path, module):
    result = _doctor(tmp_path, module=module)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("hyperskin: This must run inside a hyperskin repository")
    assert len(result.stderr.splitlines()) == 1


def test_without_the_packages_that_are_missing_the_rest_is_looked_at(root):
    """No package of ours but one: the others cannot be imported."""
    script = (
        "import sys\n"
        "for name in ('cyclopts', 'pydantic', 'ruamel', 'sqlalchemy', 'h5py', 'psutil', 'mlflow', 'torch'):\n"
        "    sys.modules[name] = None\n"
        "sys.argv[1:] = ['--json']\n"
        "from hyperskin.commands.doctor import main\n"
        "main()\n"
    )
    (root / ".dvc" / "config").write_text("[core\n")
    result = subprocess.run([sys.executable, "-P", "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    findings = _read(result)["findings"]
    assert any("psutil is not installed" in one["what"] for one in findings)
    assert any("pydantic is not installed" in one["what"] for one in findings)
