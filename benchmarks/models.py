"""Our networks at inference beside the same networks written down plainly, in one run.

python -m benchmarks.models --size 256

Every line is the processor time of the best of some rounds, ours and the plain one's in turn, on one thread; only the
ratio travels between machines. "Plain" is what a paper's equations become in torch when nobody looks at a profile:
channels first, features joined by copying, one convolution after the other. The weights are the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import (
    conv2d,
    conv_transpose2d,
    gelu,
    layer_norm,
    leaky_relu,
    normalize,
    pad,
    pixel_shuffle,
    pixel_unshuffle,
    relu,
)

from hyperskin.models.baselines import build

State = Mapping[str, Tensor]
Plain = Callable[[State, Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description="Ratios of our networks against their plain formulations.")
    parser.add_argument("--size", type=int, default=128, help="height and width of the frame in px")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=list(PLAIN), choices=PLAIN)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    frame = torch.rand(1, 3, options.size, options.size)
    print(f"{options.size} x {options.size}, 3 -> 31 channels, float32, 1 thread, best of {options.rounds}")
    print(f"{'network':<15}{'ours s':>9}{'plain s':>9}{'ratio':>7}{'|difference| / largest value':>31}")
    for name in options.models:
        ours_s, plain_s, difference = race(name, frame, options.rounds)
        print(f"{name:<15}{ours_s:>9.3f}{plain_s:>9.3f}{plain_s / ours_s:>6.2f}x{difference:>31.1e}")


@torch.inference_mode()
def race(name: str, frame: Tensor, rounds: int) -> tuple[float, float, float]:
    """Return both best times in seconds and how far the outputs lie apart."""
    network = build(name, in_channels=3, out_channels=31).eval()
    state = network.state_dict()
    ours_s, plain_s = [], []
    for _ in range(rounds):
        ours = _timed(lambda: network(frame), ours_s)
        plain = _timed(lambda: PLAIN[name](state, frame), plain_s)
    return min(ours_s), min(plain_s), float((ours - plain).abs().max() / plain.abs().max())


def _timed(work: Callable[[], Tensor], seconds: list[float]) -> Tensor:
    start = time.process_time()
    result = work()
    seconds.append(time.process_time() - start)
    return result


def plain_hscnn_plus(state: State, x: Tensor) -> Tensor:
    def layer(key: str, x: Tensor) -> Tensor:
        weight = state[f"ddfn.{key}.weight"]
        return relu(conv2d(x, weight, padding=weight.shape[-1] // 2))

    def paths(prefix: str, x: Tensor) -> Tensor:
        up1, down1 = layer(f"{prefix}conv_up1", x), layer(f"{prefix}conv_down1", x)
        up2, down2 = layer(f"{prefix}conv_up2", up1), layer(f"{prefix}conv_down2", down1)
        return torch.cat([up1, up2, down1, down2], dim=1)

    seen = paths("", x)
    for block in range(30):
        prefix = f"dfus_blocks.{block}."
        new = layer(f"{prefix}conv_fution", paths(prefix, layer(f"{prefix}conv1", seen)))
        seen = torch.cat([seen, new], dim=1)
    return conv2d(seen, state["conv_out.weight"])


def plain_hrnet(state: State, x: Tensor) -> Tensor:
    def layer(key: str, x: Tensor) -> Tensor:
        weight = state[f"{key}.conv2d.weight"]
        return leaky_relu(conv2d(x, weight, state[f"{key}.conv2d.bias"], padding=weight.shape[-1] // 2), 0.2)

    def dense(key: str, x: Tensor) -> Tensor:
        seen = [x]
        for number in range(1, 6):
            seen.append(layer(f"{key}.conv{number}", torch.cat(seen, dim=1)))
        return seen[-1] * 0.1 + x

    def block(key: str, x: Tensor) -> Tensor:
        return layer(f"{key}.conv2", layer(f"{key}.conv1", x)) * 0.1 + x

    x, height, width = _padded(x)
    top = layer("top1", pixel_unshuffle(x, 8))
    top = pixel_shuffle(layer("top3", block("top22", dense("top21", top))), 2)
    mid = torch.cat([layer("mid1", pixel_unshuffle(x, 4)), top], dim=1)
    mid = block("mid32", dense("mid31", layer("mid2", mid)))
    mid = pixel_shuffle(layer("mid4", mid), 2)
    bot = torch.cat([layer("bot1", pixel_unshuffle(x, 2)), mid], dim=1)
    bot = block("bot33", dense("bot32", dense("bot31", layer("bot2", bot))))
    bot = pixel_shuffle(layer("bot4", bot), 2)
    y = layer("main2", torch.cat([layer("main1", x), bot], dim=1))
    for number in range(1, 5):
        y = dense(f"main3{number}", y)
    return layer("main4", block("main35", y))[:, :, :height, :width]


def plain_mst_plus_plus(state: State, x: Tensor) -> Tensor:
    def attention(key: str, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        heads = len(state[f"{key}.rescale"])
        pixels = x.reshape(n, h * w, c)
        q, k, v = (
            (pixels @ state[f"{key}.to_{letter}.weight"].T).reshape(n, h * w, heads, -1).permute(0, 2, 3, 1)
            for letter in "qkv"
        )
        mixing = (normalize(k, dim=-1) @ normalize(q, dim=-1).mT * state[f"{key}.rescale"]).softmax(dim=-1)
        mixed = (mixing @ v).permute(0, 3, 1, 2).reshape(n, h * w, c)
        projected = mixed @ state[f"{key}.proj.weight"].T + state[f"{key}.proj.bias"]
        places = v.reshape(n, c, h, w)
        places = conv2d(places, state[f"{key}.pos_emb.0.weight"], padding=1, groups=c)
        places = conv2d(gelu(places), state[f"{key}.pos_emb.2.weight"], padding=1, groups=c)
        return projected.reshape(n, h, w, c) + places.permute(0, 2, 3, 1)

    def feed_forward(key: str, x: Tensor) -> Tensor:
        y = layer_norm(x, x.shape[-1:], state[f"{key}.norm.weight"], state[f"{key}.norm.bias"]).permute(0, 3, 1, 2)
        y = gelu(conv2d(y, state[f"{key}.fn.net.0.weight"]))
        y = gelu(conv2d(y, state[f"{key}.fn.net.2.weight"], padding=1, groups=y.shape[1]))
        return conv2d(y, state[f"{key}.fn.net.4.weight"]).permute(0, 2, 3, 1)

    def block(key: str, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = attention(f"{key}.blocks.0.0", x) + x
        return (feed_forward(f"{key}.blocks.0.1", x) + x).permute(0, 3, 1, 2)

    def up(key: str, x: Tensor, skipped: Tensor) -> Tensor:
        x = conv_transpose2d(x, state[f"{key}.0.weight"], state[f"{key}.0.bias"], stride=2)
        return block(f"{key}.2", conv2d(torch.cat([x, skipped], dim=1), state[f"{key}.1.weight"]))

    def stage(key: str, x: Tensor) -> Tensor:
        full = block(f"{key}.encoder_layers.0.0", conv2d(x, state[f"{key}.embedding.weight"], padding=1))
        half = conv2d(full, state[f"{key}.encoder_layers.0.1.weight"], stride=2, padding=1)
        half = block(f"{key}.encoder_layers.1.0", half)
        quarter = conv2d(half, state[f"{key}.encoder_layers.1.1.weight"], stride=2, padding=1)
        y = up(f"{key}.decoder_layers.0", block(f"{key}.bottleneck", quarter), half)
        y = up(f"{key}.decoder_layers.1", y, full)
        return conv2d(y, state[f"{key}.mapping.weight"], padding=1) + x

    x, height, width = _padded(x)
    x = conv2d(x, state["conv_in.weight"], padding=1)
    y = x
    for number in range(3):
        y = stage(f"body.{number}", y)
    return (conv2d(y, state["conv_out.weight"], padding=1) + x)[:, :, :height, :width]


def _padded(x: Tensor) -> tuple[Tensor, int, int]:
    height, width = x.shape[-2:]
    return pad(x, (0, -width % 8, 0, -height % 8), mode="reflect"), height, width


PLAIN: dict[str, Plain] = {
    "hscnn_plus": plain_hscnn_plus,
    "hrnet": plain_hrnet,
    "mst_plus_plus": plain_mst_plus_plus,
}

if __name__ == "__main__":
    main()
