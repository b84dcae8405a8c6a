"""What a driver says of GPUs is heard, with a program in its place that says what drivers say."""

import os
import shutil
import subprocess
import sys

import pytest

from hyperskin.health import gpu
from hyperskin.health.gpu import look

GPU = "NVIDIA H100 80GB HBM3, 1 MiB, 81559 MiB"


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Return a function that puts a driver's program on the path."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(apps="", gpus=GPU):
        script = f'case "$1" in *query-gpu*) printf "{gpus}";; *query-compute-apps*) printf "{apps}";; esac'
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return put


@pytest.fixture
def fitting_torch(monkeypatch):
    """A torch that can use the GPU, which the one of this machine may not."""
    monkeypatch.setattr(gpu, "_torch", lambda name: iter(()))


def test_without_a_driver_there_is_nothing_to_look_at(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(look(tmp_path)) == []


def test_a_gpu_of_its_own_is_fine(driver, fitting_torch, tmp_path):
    driver()
    assert list(look(tmp_path)) == []
    driver(gpus="")
    assert list(look(tmp_path)) == []


def test_hidden_gpus_are_said(driver, fitting_torch, tmp_path, monkeypatch):
    driver()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    [finding] = look(tmp_path)
    assert finding.remedy == "unset CUDA_VISIBLE_DEVICES"


def test_another_process_on_a_gpu_is_named_and_one_of_ours_or_a_small_one_not(driver, fitting_torch, tmp_path):
    sleep = ["-c", "import time; print(flush=True); time.sleep(600)"]
    with (
        subprocess.Popen([sys.executable, *sleep], stdout=subprocess.PIPE) as other,
        subprocess.Popen([sys.executable, *sleep, "hyperskin"], stdout=subprocess.PIPE) as ours,
    ):
        for process in (other, ours):
            process.stdout.readline()
        driver(apps=f"{other.pid}, 4096 MiB\\n{ours.pid}, 70000 MiB\\n1, 12 MiB\\n")
        findings = list(look(tmp_path))
        for process in (other, ours):
            process.kill()
    [finding] = findings
    assert f"(process {other.pid}) holds 4.0 GiB" in finding.what
    assert finding.remedy == f"ps -fp {other.pid}"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="a real GPU is here")
def test_a_torch_for_cuda_that_finds_no_driver_is_broken(driver, tmp_path, monkeypatch):
    driver()
    monkeypatch.setattr(gpu, "_is_cpu_build", lambda: False)
    [finding] = look(tmp_path)
    assert finding.severity == "broken"
    assert "must be able to use the NVIDIA H100 80GB HBM3" in finding.what
