"""A network that stretches every picture from its darkest to its brightest value before it looks at it."""

from __future__ import annotations

from torch import Tensor, nn


class Stretched(nn.Module):
    """A network behind the scaling it was trained with, (N, C_in, H, W) -> (N, C_out, H, W).

    The darkest value of a picture becomes 0 and the brightest 1, over all of its channels; a picture of one value
    becomes 0. Part of a picture has another span than the whole and gives other spectra: it wants whole frames.

    Args:
        network: Trained on pictures stretched so, each by the span of the whole frame.

    Source:
        The loaders of the Hyper-Skin authors (2023) and of MST++ (Cai et al., CVPRW 2022).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.size_multiple = getattr(network, "size_multiple", 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return what the network answers to each picture of the batch, stretched by itself."""
        answer: Tensor = self.network(stretch(x))
        return answer


def stretch(x: Tensor) -> Tensor:
    """Return pictures (N, C, H, W) stretched to 0 .. 1, each by its own darkest and brightest value."""
    darkest, brightest = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    width = brightest - darkest
    return (x - darkest) / width.where(width > 0, 1.0)
