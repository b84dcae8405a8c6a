import io

import numpy as np
import pytest
import torch
from torch.export import Dim

from hyperskin.data.capture import CaptureId
from hyperskin.data.frames import Frame
from hyperskin.errors import DataError
from hyperskin.models.baselines import build, network_of, parameter_count, sizes_of
from hyperskin.models.weights_file import WeightsFile
from hyperskin.spectral.rendering import decode_srgb, encode_srgb


def faces(count=6, *, in_channels=3, out_channels=31, shape=(24, 32), seed=0):
    """Return captures whose spectra depend on their light, and a little on more than that."""
    draw = np.random.default_rng(seed)
    mixing = draw.random((in_channels, out_channels)) / in_channels
    frames = []
    for number in range(count):
        light = draw.random((*shape, in_channels)) * draw.uniform(0.1, 0.9)
        spectra = light @ mixing + 0.1 * np.sqrt(light[..., :1] * light[..., 1:2])
        rgb = np.round(encode_srgb(light[..., :3]) * 255) / 255
        frames.append(
            Frame(
                CaptureId(f"p{number + 1:03}", "neutral", "front"),
                np.concatenate([rgb, light[..., 3:]], axis=2).astype(np.float32),
                (spectra + draw.normal(0, 0.01, spectra.shape)).astype(np.float32),
                None,
                draw.random(shape) < 0.9,
            )
        )
    return frames


def basal(frames=None, *, in_channels=3, out_channels=31):
    torch.manual_seed(1)
    network = build("basal", in_channels=in_channels, out_channels=out_channels).eval()
    network.start(faces(in_channels=in_channels, out_channels=out_channels) if frames is None else frames)
    return network


@torch.no_grad()
def answer(network, rgb):
    return network(torch.from_numpy(rgb.transpose(2, 0, 1)[None].astype(np.float32)))[0].numpy().transpose(1, 2, 0)


def _reference_features(x):
    """Return brightness and root-polynomial features of pixels (P, C), product by product."""
    light = np.concatenate([decode_srgb(x[:, :3]), x[:, 3:]], axis=1)
    s = light[:, :3].mean(axis=1) + 0.004
    u = [np.maximum((light[:, c] + 0.001) / s, 1e-3) for c in range(light.shape[1])]
    columns = {}
    for a in range(len(u)):
        columns[(a,)] = u[a]
        for b in range(a + 1, len(u)):
            columns[a, b] = np.sqrt(u[a] * u[b])
            columns[a, a, b], columns[a, b, b] = np.cbrt(u[a] * u[a] * u[b]), np.cbrt(u[a] * u[b] * u[b])
            for c in range(b + 1, len(u)):
                columns[a, b, c] = np.cbrt(u[a] * u[b] * u[c])
    return s, np.stack([*columns.values(), np.ones(len(s))], axis=1)


def _reference_regression(frames, rank):
    """Return the regression as a map of features to relative spectra, and the spread of its residual."""
    x = np.concatenate([frame.input[frame.valid] for frame in frames]).astype(np.float64)
    y = np.concatenate([frame.reference[frame.valid] for frame in frames]).astype(np.float64)
    s, phi = _reference_features(x)
    q = (s / (s + 0.05))[:, None]
    basis = np.linalg.svd(q * y / s[:, None], full_matrices=False)[2][:rank]
    penalty = np.sqrt(1e-6 * np.sum((q * phi) ** 2) / phi.shape[1]) * np.eye(phi.shape[1])
    targets = q * (y / s[:, None]) @ basis.T
    stem = np.linalg.lstsq(
        np.vstack([q * phi, penalty]), np.vstack([targets, np.zeros((len(penalty), rank))]), rcond=None
    )[0]
    return stem @ basis, np.std(targets - q * phi @ stem, axis=0)


@pytest.mark.parametrize(
    ("channels", "features", "rank", "count"),
    [((3, 31), 14, 12, 16_752), ((4, 31), 27, 12, 17_748), ((4, 61), 27, 16, 18_656)],
)
def test_before_training_it_is_the_regression(channels, features, rank, count):
    sizes = {"in_channels": channels[0], "out_channels": channels[1]}
    frames = faces(**sizes)
    network = basal(frames, **sizes)
    relative_map, spread = _reference_regression(frames, rank)
    assert relative_map.shape[0] == features
    for frame in faces(2, **sizes, seed=5):
        s, phi = _reference_features(frame.input.reshape(-1, channels[0]).astype(np.float64))
        expected = (s[:, None] * (phi @ relative_map)).reshape(frame.reference.shape)
        np.testing.assert_allclose(answer(network, frame.input), expected, atol=2e-6)
    np.testing.assert_allclose(network.spread.numpy(), spread, rtol=1e-4)
    assert parameter_count(network) == count


def test_what_is_not_valid_and_what_lies_between_the_lattice_does_not_count():
    [frame] = faces(1, shape=(128, 144))  # 18432 pixels: every third of every third row
    spoiled = frame.reference.copy()
    spoiled[~frame.valid] = 1e6
    kept = np.zeros(frame.valid.shape, bool)
    kept[1::3, 1::3] = True
    spoiled[~kept] = 1e6
    changed = Frame(frame.capture, frame.input, spoiled, None, frame.valid)
    assert_equal_states(basal([frame]), basal([changed]))


def test_equal_captures_start_it_equally_to_the_byte():
    assert_equal_states(basal(), basal(iter(faces())))


def assert_equal_states(one, other):
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_it_cannot_start_from_nothing():
    with pytest.raises(DataError, match="must see at least one pixel to start from; got none"):
        basal([])


@pytest.mark.parametrize("gain", [0.3, 1.7])
def test_a_brighter_picture_gives_a_brighter_cube(gain):
    network = basal()
    light = 0.1 + 0.4 * np.random.default_rng(3).random((24, 32, 3))
    cube, brighter = (answer(network, encode_srgb(light * factor)) for factor in (1, gain))
    np.testing.assert_allclose(brighter, gain * cube, rtol=0.02, atol=0.004)


def test_black_is_finite_and_nearly_black():
    cube = answer(basal(), np.zeros((24, 32, 3)))
    assert np.isfinite(cube).all()
    assert np.abs(cube).max() < 0.02


def test_a_trained_branch_sees_its_surroundings_and_keeps_every_size(shake):
    network = shake(basal())
    frame = faces(1, shape=(23, 31))[0].input
    changed = frame.copy()
    changed[10, 12] = 1.0
    cube = answer(network, frame)
    assert cube.shape == (23, 31, 31)
    rows, columns = np.nonzero(np.abs(answer(network, changed) - cube).max(axis=2) > 1e-7)
    assert (rows.min(), rows.max()) == (10 - 7, 11 + 7)  # 3 half-size pixels around its own, and 1 px of blending
    assert (columns.min(), columns.max()) == (12 - 7, 13 + 7)


def test_an_odd_frame_is_mirrored_and_cropped(shake):
    network = shake(basal())
    frame = faces(1, shape=(23, 31))[0].input
    mirrored = np.pad(frame, ((0, 1), (0, 1), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(answer(network, frame), answer(network, mirrored)[:23, :31])


def test_a_stored_graph_gives_what_the_network_gives_at_even_sizes(shake):
    network = shake(basal())
    any_size = [{0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}]
    stored = io.BytesIO()
    torch.export.save(torch.export.export(network, (torch.rand(2, 3, 16, 16),), dynamic_shapes=any_size), stored)
    stored.seek(0)
    graph = torch.export.load(stored).module()
    for shape in ((1, 3, 24, 32), (2, 3, 26, 18)):
        x = torch.rand(shape)
        torch.testing.assert_close(graph(x), network(x), rtol=1e-5, atol=1e-6)


def test_half_precision_is_refused_to_autocast(shake):
    network = shake(basal())
    x = torch.rand(1, 3, 24, 32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = network(x)
    torch.testing.assert_close(inside, network(x), rtol=0, atol=0)


def test_weights_tell_its_sizes(tmp_path):
    network = build("basal", in_channels=4, out_channels=61, width=8)
    again = network_of(WeightsFile(tmp_path, network.state_dict(), {}), "basal")
    assert (again.config, sizes_of(again)) == (network.config, {"width": 8})
    assert_equal_states(again, network)
