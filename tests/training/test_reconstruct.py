"""A frame goes in, a cube of the same size comes out."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from hyperskin.errors import ShapeError
from hyperskin.training.device import MemoryShortError
from hyperskin.training.reconstruct import reconstruct

CPU = torch.device("cpu")


@pytest.fixture
def frame() -> np.ndarray:
    return np.random.default_rng(0).random((23, 32, 3), dtype=np.float32)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 31, 1))


def test_a_cube_of_the_frames_size_comes_out(network: nn.Module, frame: np.ndarray) -> None:
    cube = reconstruct(network, frame, device=CPU)
    assert cube.shape == (23, 32, 31)
    assert cube.dtype == np.float32
    assert cube.flags.c_contiguous


def test_a_pixelwise_network_is_a_matrix(frame: np.ndarray) -> None:
    network = nn.Conv2d(3, 31, 1)
    cube = reconstruct(network, frame, device=CPU)
    weights = network.weight.detach().numpy()[:, :, 0, 0]
    assert network.bias is not None
    np.testing.assert_allclose(cube, frame @ weights.T + network.bias.detach().numpy(), atol=1e-6)


def test_the_network_evaluates_and_keeps_no_gradients(network: nn.Module, frame: np.ndarray) -> None:
    network.train()
    once, again = (reconstruct(network, frame, device=CPU) for _ in range(2))
    np.testing.assert_array_equal(once, again)  # the dropout is off
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_threads_may_share_a_network(network: nn.Module) -> None:
    frames = [np.random.default_rng(i).random((20 + i, 24, 3), dtype=np.float32) for i in range(8)]
    alone = [reconstruct(network, frame, device=CPU) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda frame: reconstruct(network, frame, device=CPU), frames))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_frame_is_left_alone(network: nn.Module, frame: np.ndarray) -> None:
    before = frame.copy()
    frame.flags.writeable = False
    reconstruct(network, frame, device=CPU)
    np.testing.assert_array_equal(frame, before)


def test_double_precision_goes_in_as_single(network: nn.Module, frame: np.ndarray) -> None:
    np.testing.assert_array_equal(
        reconstruct(network, frame.astype(np.float64), device=CPU), reconstruct(network, frame, device=CPU)
    )


def test_a_network_that_shrinks_the_frame_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(ShapeError, match=r"of \(1, 3, 23, 32\) with the same H and W; got \(1, 31, 21, 30\)"):
        reconstruct(nn.Conv2d(3, 31, 3), frame, device=CPU)


def test_what_is_no_frame_is_refused(network: nn.Module) -> None:
    with pytest.raises(ShapeError, match=r"`input` must be a cube \(H, W, C\)"):
        reconstruct(network, np.zeros((3, 4), dtype=np.float32), device=CPU)
    with pytest.raises(ShapeError, match="floating type; got dtype uint8"):
        reconstruct(network, np.zeros((3, 4, 3), dtype=np.uint8), device=CPU)


def test_too_large_a_frame_says_so(frame: np.ndarray) -> None:
    class Greedy(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.empty(2**60)

    with pytest.raises(MemoryShortError, match="take a smaller frame"):
        reconstruct(Greedy(), frame, device=CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives(network: nn.Module, frame: np.ndarray) -> None:
    expected = reconstruct(network, frame, device=CPU)
    cuda = torch.device("cuda", 0)
    np.testing.assert_allclose(reconstruct(network.to(cuda), frame, device=cuda), expected, atol=2e-3)
