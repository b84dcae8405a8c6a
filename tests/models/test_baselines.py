import io

import pytest
import torch
from torch.export import Dim

from hyperskin.errors import ParamsError, UnknownNameError
from hyperskin.models.baselines import NAMES, build, config_of, load_checkpoint, parameter_count

SMALL = {"hscnn_plus": {"blocks": 2}, "hrnet": {"width": 8}, "mst_plus_plus": {"stages": 1}, "basal": {}}
CHANNELS = ((3, 31), (4, 31), (4, 61), (3, 61))
COUNTS = {
    ("hscnn_plus", 30): (4_645_504, 4_646_080, 4_678_720, 4_678_144),
    ("hscnn_plus", 20): (2_689_984, 2_690_560, 2_713_600, 2_713_024),
    ("hscnn_plus", 38): (6_504_832, 6_505_408, 6_545_728, 6_545_152),
    ("hscnn_plus", 78): (19_733_632, 19_734_208, 19_812_928, 19_812_352),
    ("hrnet", 64): (31_704_863, 32_041_823, 32_059_133, 31_722_173),
    ("mst_plus_plus", 3): (1_619_625, 1_619_904, 6_168_594, 6_168_045),
}
EXPORTED = [
    "hscnn_plus",
    pytest.param("hrnet", marks=pytest.mark.slow),
    pytest.param("mst_plus_plus", marks=pytest.mark.slow),
]


def small(name):
    return build(name, in_channels=3, out_channels=31, **SMALL[name])


@pytest.mark.parametrize(
    ("name", "size", "channels", "count"),
    [(*key, channels, count) for key, row in COUNTS.items() for channels, count in zip(CHANNELS, row, strict=True)],
)
def test_parameter_counts_are_the_published_ones(name, size, channels, count):
    (key,) = config_of(name)
    with torch.device("meta"):
        network = build(name, in_channels=channels[0], out_channels=channels[1], **{key: size})
    assert parameter_count(network) == count


@pytest.mark.parametrize(("stages", "count"), [(1, 546_199), (2, 1_082_912), (4, 2_156_338)])
def test_parameter_counts_follow_the_stages(stages, count):
    with torch.device("meta"):
        assert parameter_count(build("mst_plus_plus", in_channels=3, out_channels=31, stages=stages)) == count


@pytest.mark.parametrize(("name", "keys"), [("hscnn_plus", 185), ("hrnet", 130), ("mst_plus_plus", 227)])
def test_without_sizes_the_published_network_is_built(name, keys):
    with torch.device("meta"):
        assert len(build(name, in_channels=3, out_channels=31).state_dict()) == keys


@pytest.mark.parametrize("name", NAMES)
def test_frames_of_any_size_keep_it(name):
    network = small(name).eval()
    with torch.inference_mode():
        for height, width in ((24, 32), (13, 21)):
            assert network(torch.rand(2, 3, height, width)).shape == (2, 31, height, width)


def test_networks_say_which_sizes_their_graphs_take():
    assert {name: small(name).size_multiple for name in NAMES} == {
        "hscnn_plus": 1,
        "hrnet": 8,
        "mst_plus_plus": 8,
        "basal": 2,
    }


def test_sizes_beside_the_channels_are_listed():
    assert [config_of(name) for name in NAMES] == [{"blocks": 30}, {"width": 64}, {"stages": 3}, {"width": 24}]


def test_an_unknown_network_lists_the_known_ones():
    message = "`name` of a network must be one of hscnn_plus, hrnet, mst_plus_plus, basal; got 'unet'"
    with pytest.raises(UnknownNameError, match=message):
        build("unet", in_channels=3, out_channels=31)
    with pytest.raises(UnknownNameError, match=message):
        load_checkpoint("nowhere.pt", "unet")


def test_an_unknown_size_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="A size of hscnn_plus must be one of blocks; got 'stages'"):
        build("hscnn_plus", in_channels=3, out_channels=31, stages=2)
    with pytest.raises(UnknownNameError, match="must be one of stages; got 'n_feat'"):
        build("mst_plus_plus", in_channels=3, out_channels=31, n_feat=31)


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "2"])
def test_a_size_is_a_positive_whole_number(value):
    with pytest.raises(ParamsError, match=f"`blocks` of hscnn_plus must be a positive whole number; got {value!r}"):
        build("hscnn_plus", in_channels=3, out_channels=31, blocks=value)
    with pytest.raises(ParamsError, match="`in_channels` of hscnn_plus"):
        build("hscnn_plus", in_channels=0, out_channels=31)


@pytest.mark.parametrize("name", EXPORTED)
def test_a_stored_graph_gives_what_the_network_gives_at_other_sizes(name):
    network = small(name).eval()
    any_size = [{0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}]
    graph = torch.export.export(network, (torch.rand(2, 3, 64, 64),), dynamic_shapes=any_size)
    stored = io.BytesIO()
    torch.export.save(graph, stored)
    stored.seek(0)
    _assert_same(torch.export.load(stored).module(), network)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_graph_can_be_asked_for_multiples_of_eight_without_recording_gradients(name):
    network = small(name).eval()
    sizes = {0: Dim("n", min=1, max=64), 2: 8 * Dim("h", min=2, max=512), 3: 8 * Dim("w", min=2, max=512)}
    with torch.no_grad():
        graph = torch.export.export(network, (torch.rand(2, 3, 64, 64),), dynamic_shapes=[sizes])
    _assert_same(graph.module(), network)


@torch.no_grad()
def _assert_same(graph, network):
    for shape in ((1, 3, 64, 64), (2, 3, 48, 40), (1, 3, 96, 80)):
        x = torch.rand(shape)
        torch.testing.assert_close(graph(x), network(x), rtol=1e-5, atol=1e-6)
