"""What basal costs beside MST++, in one run: numbers, products per pixel, processor time of a frame on one thread.

python -m benchmarks.basal --sizes 512 1024

Only the ratio of times travels between machines. Products are those of convolutions and matrices.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn

from hyperskin.models.baselines import build, parameter_count
from hyperskin.models.products import products_per_px

CHANNELS = ((3, 31), (4, 31), (4, 61))


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of basal beside that of MST++.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256], help="heights and widths of frames in px")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    sides = "".join(f"{f'{size} px, s':>13}" for size in options.sizes)
    print(f"{'network':<22}{'parameters':>12}{'kMAC/px':>9}{sides}   float32, 1 thread, best of {options.rounds}")
    for channels in CHANNELS:
        times = [show(name, channels, options.sizes, options.rounds) for name in ("mst_plus_plus", "basal")]
        ratios = "".join(f"{theirs / ours:>12.0f}x" for theirs, ours in zip(*times, strict=True))
        print(f"{'':<43}{ratios}")


def show(name: str, channels: tuple[int, int], sizes: list[int], rounds: int) -> list[float]:
    """Print the cost of a network, and return its seconds at each size."""
    network = build(name, in_channels=channels[0], out_channels=channels[1]).eval()
    if name == "basal":
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    seconds = [frame_seconds(network, channels[0], size, rounds) for size in sizes]
    named = f"{name} {channels[0]} -> {channels[1]}"
    shown = "".join(f"{value:>13.2f}" for value in seconds)
    print(f"{named:<22}{parameter_count(network):>12,}{products_per_px(network, channels[0]) / 1e3:>9.1f}{shown}")
    return seconds


@torch.inference_mode()
def frame_seconds(network: nn.Module, in_channels: int, size: int, rounds: int) -> float:
    """Return the processor time that a frame takes, the best of some rounds."""
    frame = torch.rand(1, in_channels, size, size)
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        network(frame)
        seconds.append(time.process_time() - began)
    return min(seconds)


if __name__ == "__main__":
    main()
