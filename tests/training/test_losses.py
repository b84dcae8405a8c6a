"""Losses count measured pixels and nothing else."""

import numpy as np
import pytest
import torch

from hyperskin.errors import UnknownNameError
from hyperskin.training.losses import NAMES, find_loss, l1, mrae

Triple = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture
def batch() -> Triple:
    generator = torch.Generator().manual_seed(0)
    estimate = torch.rand(2, 31, 24, 32, generator=generator)
    reference = torch.rand(2, 31, 24, 32, generator=generator) - 0.1
    return estimate, reference, torch.rand(2, 1, 24, 32, generator=generator) < 0.7


def _reference_loss(name: str, batch: Triple, floor: float) -> float:
    """One pixel and band at a time, in float64."""
    estimate, reference, valid = (part.numpy().astype(np.float64) for part in batch)
    errors = []
    for n, y, x in np.argwhere(valid[:, 0]):
        for e, r in zip(estimate[n, :, y, x], reference[n, :, y, x], strict=True):
            errors.append(abs(e - r) if name == "l1" else abs(e - r) / max(abs(r), floor))
    return float(np.mean(errors))


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_the_mean_over_valid_pixels(batch: Triple, name: str) -> None:
    loss = find_loss(name, mrae_floor=0.05)(*batch)
    assert loss.item() == pytest.approx(_reference_loss(name, batch, 0.05), rel=1e-5)


def test_two_pixels_by_hand() -> None:
    estimate = torch.tensor([[[[0.5, 9.0]]]])
    reference = torch.tensor([[[[0.25, 1.0]]]])
    valid = torch.tensor([[[[True, False]]]])
    assert l1(estimate, reference, valid).item() == 0.25
    assert mrae(estimate, reference, valid, floor=0.01).item() == 1.0
    assert mrae(estimate, reference, valid, floor=0.5).item() == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_an_invalid_pixel_moves_nothing(batch: Triple, name: str) -> None:
    estimate, reference, valid = batch
    estimate.requires_grad_()
    loss = find_loss(name)
    value = loss(estimate, reference, valid)
    value.backward()
    assert estimate.grad is not None
    assert not estimate.grad[~valid.expand_as(estimate)].any()
    other = torch.where(valid, reference, 77.0)
    assert loss(estimate, other, valid).item() == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_valid_pixels_costs_nothing(batch: Triple, name: str) -> None:
    estimate, reference, valid = batch
    assert find_loss(name)(estimate, reference, torch.zeros_like(valid)).item() == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_costs_nothing(batch: Triple, name: str) -> None:
    _, reference, valid = batch
    assert find_loss(name)(reference, reference, valid).item() == 0


def test_relative_error_does_not_change_with_brightness_above_the_floor(batch: Triple) -> None:
    estimate, reference, valid = batch
    bright = reference.abs() + 1
    once = mrae(estimate, bright, valid, floor=0.5)
    twice = mrae(2 * estimate, 2 * bright, valid, floor=0.5)
    assert twice.item() == pytest.approx(once.item(), rel=1e-6)


def test_an_unknown_loss_is_refused_with_the_known() -> None:
    with pytest.raises(UnknownNameError, match=r"`train.loss` must be one of l1, mrae; got 'l2'"):
        find_loss("l2")
