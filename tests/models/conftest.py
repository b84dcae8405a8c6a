"""Networks whose every parameter matters."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

Shake = Callable[[nn.Module], nn.Module]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def shake() -> Shake:
    """Return a function that draws all parameters anew, biases and norms too, so that no term hides behind a zero."""

    def draw(network: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in network.parameters():
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
                spread = (2 / max(fan_in, 2)) ** 0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
        return network.eval()

    return draw
