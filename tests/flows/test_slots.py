"""GPUs as the driver lists them, and cores where there is none."""

import os

import pytest

from flows.slots import Slots, find_gpus, find_slots


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Return a function that puts a stand-in for nvidia-smi first on the path."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def install(script):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return install


def test_every_gpu_of_the_driver_is_a_slot(driver):
    driver("[ $1 = --query-gpu=uuid ] && printf 'GPU-aa\\nGPU-bb\\n'")

    assert find_slots(5) == [{"CUDA_VISIBLE_DEVICES": "GPU-aa"}, {"CUDA_VISIBLE_DEVICES": "GPU-bb"}]


def test_a_driver_that_finds_no_gpu_leaves_the_cores(driver):
    driver("echo 'NVIDIA-SMI has failed'; exit 9")

    assert find_slots(2) == [{"OMP_NUM_THREADS": "1"}, {"OMP_NUM_THREADS": "1"}]


def test_without_a_driver_the_cores_are_used(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_gpus() == ()


def test_the_environment_wins_over_the_driver(driver, monkeypatch):
    driver("printf 'GPU-aa\\nGPU-bb\\n'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert find_slots(2) == [{"CUDA_VISIBLE_DEVICES": "1"}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_slots(1) == [{"OMP_NUM_THREADS": "1"}]


def test_a_slot_is_given_back_also_after_an_error():
    slots = Slots([{"CUDA_VISIBLE_DEVICES": "0"}])

    with pytest.raises(KeyError), slots.taken():
        raise KeyError
    with slots.taken() as slot:
        assert slot == {"CUDA_VISIBLE_DEVICES": "0"}
