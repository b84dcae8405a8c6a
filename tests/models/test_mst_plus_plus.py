import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import erf

from hyperskin.errors import ParamsError, ShapeError
from hyperskin.models import mst_plus_plus
from hyperskin.models.mst_plus_plus import BandAttention, MstPlusPlus, MstPlusPlusConfig


class _ReferenceMstPlusPlus:
    """The equations one after the other in float64, on one frame (C, H, W), head by head."""

    def __init__(self, state):
        self.weights = {key: value.numpy().astype(np.float64) for key, value in state.items()}

    def __call__(self, x, stages):
        _, height, width = x.shape
        x = np.pad(x, ((0, 0), (0, -height % 8), (0, -width % 8)), mode="reflect")
        embedded = self.convolve("conv_in", x)
        y = embedded
        for stage in range(stages):
            y = self.stage(f"body.{stage}", y)
        return (self.convolve("conv_out", y) + embedded)[:, :height, :width]

    def stage(self, key, x):
        a = self.convolve(f"{key}.embedding", x)
        a0 = self.block(f"{key}.encoder_layers.0.0", a)
        a1 = self.convolve(f"{key}.encoder_layers.0.1", a0, stride=2)
        a1 = self.block(f"{key}.encoder_layers.1.0", a1)
        z = self.convolve(f"{key}.encoder_layers.1.1", a1, stride=2)
        z = self.block(f"{key}.bottleneck", z)
        for level, skipped in enumerate((a1, a0)):
            prefix = f"{key}.decoder_layers.{level}"
            z = self.double(f"{prefix}.0", z)
            z = self.convolve(f"{prefix}.1", np.concatenate([z, skipped]))
            z = self.block(f"{prefix}.2", z)
        return self.convolve(f"{key}.mapping", z) + x

    def block(self, key, x):
        x = x + self.attention(f"{key}.blocks.0.0", x)
        return x + self.feed_forward(f"{key}.blocks.0.1", x)

    def attention(self, key, x):
        channels = len(x)
        pixels = x.reshape(channels, -1).T
        q, k, v = (pixels @ self.weights[f"{key}.to_{letter}.weight"].T for letter in "qkv")
        heads = self.weights[f"{key}.rescale"][:, 0, 0]
        d = channels // len(heads)
        mixed = np.empty_like(v)
        for head, rescale in enumerate(heads):
            own = slice(head * d, (head + 1) * d)
            similarity = np.empty((d, d))
            for a, key_row in enumerate(k[:, own].T):
                for b, query_row in enumerate(q[:, own].T):
                    unit_key = key_row / max(np.linalg.norm(key_row), 1e-12)
                    unit_query = query_row / max(np.linalg.norm(query_row), 1e-12)
                    similarity[a, b] = rescale * (unit_key @ unit_query)
            exponentials = np.exp(similarity - similarity.max(axis=1, keepdims=True))
            attention = exponentials / exponentials.sum(axis=1, keepdims=True)
            mixed[:, own] = (attention @ v[:, own].T).T
        out = mixed @ self.weights[f"{key}.proj.weight"].T + self.weights[f"{key}.proj.bias"]
        places = v.T.reshape(x.shape)
        places = self.depthwise(f"{key}.pos_emb.2", _reference_gelu(self.depthwise(f"{key}.pos_emb.0", places)))
        return out.T.reshape(x.shape) + places

    def feed_forward(self, key, x):
        mean, variance = x.mean(axis=0), x.var(axis=0)
        scale, shift = self.weights[f"{key}.norm.weight"], self.weights[f"{key}.norm.bias"]
        y = (x - mean) / np.sqrt(variance + 1e-5) * scale[:, None, None] + shift[:, None, None]
        y = _reference_gelu(self.convolve(f"{key}.fn.net.0", y))
        y = _reference_gelu(self.depthwise(f"{key}.fn.net.2", y))
        return self.convolve(f"{key}.fn.net.4", y)

    def convolve(self, key, x, stride=1):
        weight = self.weights[f"{key}.weight"]
        return np.einsum("ihwyx,oiyx->ohw", _windows(x, weight.shape[-1], stride), weight, optimize=True)

    def depthwise(self, key, x):
        return np.einsum("chwyx,cyx->chw", _windows(x, 3, 1), self.weights[f"{key}.weight"][:, 0])

    def double(self, key, x):
        weight, bias = self.weights[f"{key}.weight"], self.weights[f"{key}.bias"]
        _, height, width = x.shape
        result = np.empty((weight.shape[1], 2 * height, 2 * width))
        for dy in range(2):
            for dx in range(2):
                result[:, dy::2, dx::2] = np.einsum("ihw,io->ohw", x, weight[:, :, dy, dx]) + bias[:, None, None]
        return result


def _windows(x, size, stride):
    border = (0, 0) if size == 1 else (1, 1)
    padded = np.pad(x, ((0, 0), border, border))
    return sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]


def _reference_gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


@pytest.fixture
def network(shake):
    return shake(MstPlusPlus(MstPlusPlusConfig(3, 31, stages=2)))


@pytest.fixture
def short_strips(monkeypatch):
    monkeypatch.setattr(mst_plus_plus, "_STRIP_NUMBERS", 0)
    monkeypatch.setattr(mst_plus_plus, "_STRIP_ROWS", 3)


@pytest.mark.parametrize("size", [(24, 32), (21, 35), (5, 8)])
@torch.no_grad()
def test_outputs_are_those_of_the_equations(network, size):
    x = torch.rand(1, 3, *size)
    expected = _ReferenceMstPlusPlus(network.state_dict())(x[0].numpy().astype(np.float64), 2)
    np.testing.assert_allclose(network(x)[0].numpy(), expected, atol=4e-6 * np.abs(expected).max(), rtol=0)


@torch.no_grad()
def test_in_double_precision_nothing_but_rounding_is_left(network):
    x = torch.rand(1, 3, 24, 32, dtype=torch.float64)
    network = network.double()
    expected = _ReferenceMstPlusPlus(network.state_dict())(x[0].numpy(), 2)
    np.testing.assert_allclose(network(x)[0].numpy(), expected, atol=1e-12 * np.abs(expected).max(), rtol=0)


@pytest.mark.usefixtures("short_strips")
def test_strips_give_what_the_whole_frame_gives(network):
    batch = torch.rand(2, 3, 21, 35)
    whole = network(batch).detach()
    with torch.no_grad():
        in_strips = network(batch)
    torch.testing.assert_close(in_strips, whole, rtol=1e-5, atol=2e-6 * float(whole.abs().max()))


@pytest.mark.parametrize("stages", [1, 3])
def test_keys_and_shapes_are_those_of_published_checkpoints(stages):
    c, f = 4, 31
    with torch.device("meta"):
        state = MstPlusPlus(MstPlusPlusConfig(c, f, stages)).state_dict()
    expected = {"conv_in.weight": (f, c, 3, 3), "conv_out.weight": (f, f, 3, 3)}
    for stage in range(stages):
        expected |= {f"body.{stage}.{key}": shape for key, shape in _stage_shapes(f).items()}
    assert {key: tuple(value.shape) for key, value in state.items()} == expected
    assert len(state) == 2 + 75 * stages


def _stage_shapes(d):
    shapes = {
        "embedding.weight": (d, d, 3, 3),
        "mapping.weight": (d, d, 3, 3),
        "encoder_layers.0.1.weight": (2 * d, d, 4, 4),
        "encoder_layers.1.1.weight": (4 * d, 2 * d, 4, 4),
        "decoder_layers.0.0.weight": (4 * d, 2 * d, 2, 2),
        "decoder_layers.0.0.bias": (2 * d,),
        "decoder_layers.0.1.weight": (2 * d, 4 * d, 1, 1),
        "decoder_layers.1.0.weight": (2 * d, d, 2, 2),
        "decoder_layers.1.0.bias": (d,),
        "decoder_layers.1.1.weight": (d, 2 * d, 1, 1),
    }
    blocks = {
        "encoder_layers.0.0": 1,
        "encoder_layers.1.0": 2,
        "bottleneck": 4,
        "decoder_layers.0.2": 2,
        "decoder_layers.1.2": 1,
    }
    for key, heads in blocks.items():
        w = heads * d
        shapes |= {f"{key}.blocks.0.0.to_{letter}.weight": (w, w) for letter in "qkv"}
        shapes |= {
            f"{key}.blocks.0.0.rescale": (heads, 1, 1),
            f"{key}.blocks.0.0.proj.weight": (w, w),
            f"{key}.blocks.0.0.proj.bias": (w,),
            f"{key}.blocks.0.0.pos_emb.0.weight": (w, 1, 3, 3),
            f"{key}.blocks.0.0.pos_emb.2.weight": (w, 1, 3, 3),
            f"{key}.blocks.0.1.norm.weight": (w,),
            f"{key}.blocks.0.1.norm.bias": (w,),
            f"{key}.blocks.0.1.fn.net.0.weight": (4 * w, w, 1, 1),
            f"{key}.blocks.0.1.fn.net.2.weight": (4 * w, 1, 3, 3),
            f"{key}.blocks.0.1.fn.net.4.weight": (w, 4 * w, 1, 1),
        }
    return shapes


@torch.no_grad()
def test_attention_between_two_channels_solved_by_hand():
    attention = BandAttention(width=2, heads=1)
    attention.to_k.weight.copy_(torch.eye(2))
    attention.to_q.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    attention.rescale.fill_(2.0)
    x = torch.tensor([[3.0, 0.0], [0.0, 3.0]]).reshape(1, 1, 2, 2)  # two pixels: the channels are orthogonal
    # Cosines: key 0 with query 0 is 1, with query 1 (both channels) sqrt(1/2); key 1 with them 0 and sqrt(1/2).
    scores = 2 * np.array([[1, 0.5**0.5], [0, 0.5**0.5]])
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(attention.attend(x)[0, 0].numpy(), expected, rtol=1e-6)


@torch.no_grad()
def test_attention_knows_neither_brightness_nor_the_order_of_pixels(shake):
    attention = shake(BandAttention(width=8, heads=2))
    x = torch.rand(1, 24, 32, 8)
    expected = attention.attend(x)
    torch.testing.assert_close(attention.attend(0.01 * x), expected)
    shuffled = x.reshape(1, 768, 8)[:, torch.randperm(768)].reshape(x.shape)
    torch.testing.assert_close(attention.attend(shuffled), expected)


def test_an_empty_frame_has_a_finite_output_and_finite_gradients(network):
    x = torch.zeros(1, 3, 24, 32, requires_grad=True)
    bands = network(x)
    bands.sum().backward()
    assert torch.isfinite(bands).all()
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_every_weight_gets_a_gradient(network):
    network(torch.rand(1, 3, 24, 32)).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in network.parameters())


@torch.no_grad()
def test_every_pixel_depends_on_the_whole_frame(network):
    x = torch.rand(1, 3, 24, 64)
    changed = x.clone()
    changed[0, :, 0, 0] += 1
    assert (network(changed) - network(x)).abs().amax(dim=1).min() > 0


@torch.no_grad()
def test_frames_of_a_batch_do_not_meet(network):
    batch = torch.rand(2, 3, 24, 32)
    apart = torch.cat([network(frame[None]) for frame in batch])
    torch.testing.assert_close(network(batch), apart, rtol=1e-5, atol=1e-5)


def test_new_projections_are_narrow_and_everything_else_as_torch_draws_it():
    torch.manual_seed(1)
    state = MstPlusPlus(MstPlusPlusConfig(3, 61, stages=1)).state_dict()
    for key, value in state.items():
        if key.endswith((".to_q.weight", ".to_k.weight", ".to_v.weight", ".proj.weight")):
            assert float(value.std()) == pytest.approx(0.02, rel=0.1)
        elif key.endswith(("proj.bias", "norm.bias")):
            assert value.abs().max() == 0
        elif key.endswith((".rescale", "norm.weight")):
            assert (value == 1).all()
    bound = 1 / (61 * 9) ** 0.5
    assert state["conv_out.weight"].abs().max() <= bound
    assert state["conv_out.weight"].abs().max() > 0.95 * bound


def test_a_frame_too_small_to_pad_is_refused(network):
    with pytest.raises(ShapeError, match="got 24 x 3 px"):
        network(torch.rand(1, 3, 24, 3))


def test_a_network_without_stages_is_refused():
    with pytest.raises(ParamsError, match="`stages` of mst_plus_plus must be 1 or more; got 0"):
        MstPlusPlusConfig(3, 31, stages=0)
