"""What a device is, and what it is asked to do."""

import pytest
import torch

from hyperskin.errors import ParamsError
from hyperskin.training import device
from hyperskin.training.device import (
    MemoryShortError,
    describe_device,
    find_device,
    refuse_short_memory,
    set_threads,
    survives_on_cpu,
)

CPU = torch.device("cpu")


def test_cuda_is_taken_where_there_is_one() -> None:
    assert find_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_the_number_of_threads_is_set() -> None:
    before = torch.get_num_threads()
    try:
        set_threads(1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_no_threads_are_refused() -> None:
    with pytest.raises(ParamsError, match="threads must be at least 1; got 0"):
        set_threads(0)


def test_a_device_is_described_in_plain_text() -> None:
    facts = describe_device(CPU)
    assert facts["device"] == "cpu"
    assert facts["torch"] == torch.__version__
    assert all(isinstance(value, str) and value for value in facts.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_says_its_name_and_memory() -> None:
    facts = describe_device(torch.device("cuda", 0))
    assert facts["device_name"] == torch.cuda.get_device_name(0)
    assert int(facts["device_memory_gib"]) > 0


def test_single_precision_needs_no_trial() -> None:
    assert survives_on_cpu("fp32")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_tried_where_it_can_do_no_harm(precision: device.Precision) -> None:
    assert survives_on_cpu(precision) in {True, False}  # and this process lives on


@pytest.mark.parametrize(
    ("probe", "survives"), [("pass", True), ("import os; os.kill(os.getpid(), 4)", False), ("raise TypeError", False)]
)
def test_a_child_that_dies_says_no(monkeypatch: pytest.MonkeyPatch, probe: str, survives: bool) -> None:
    monkeypatch.setattr(device, "_PROBE", probe)
    assert survives_on_cpu.__wrapped__("bf16") is survives


def test_a_child_that_hangs_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(device, "_PROBE_SECONDS", 0.5)
    assert not survives_on_cpu.__wrapped__("fp16")


def test_short_memory_is_said_in_one_sentence() -> None:
    with (
        pytest.raises(MemoryShortError, match="must fit into the memory of cpu; it does not: lower"),
        refuse_short_memory(CPU, "lower `train.batch_size`"),
    ):
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="must match the size"), refuse_short_memory(CPU, "lower it"):
        torch.ones(2) + torch.ones(3)
