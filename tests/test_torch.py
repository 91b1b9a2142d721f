"The golden values of tests/golden, recomputed live with PyTorch: `make test-torch`. Skipped where torch is not installed."
import numpy as np
import pytest
from test_models import activations, real, small  # noqa: F401  fixtures
from torch_golden import GOLDEN, picture, sampled, small_weights, torch_pass

from inner_detectors.weights import read_weights

pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")


def compare(model, arrays, seed):
    "All values of all layers, to 1e-4 of each layer's largest."
    theirs, ours = torch_pass(arrays, picture(seed)), activations(model, picture(seed)[None])
    assert theirs.keys() == ours.keys()
    worst = {name: np.abs(ours[name][0] - value).max() / np.abs(value).max() for name, value in theirs.items()}
    assert max(worst.values()) < 1e-4, worst


@pytest.mark.parametrize("seed", [0, 7])
def test_small_network(small, seed): compare(small, small_weights(), seed)  # noqa: F811


@pytest.mark.parametrize("seed", [0, 7])
def test_real_convolutions(real, vgg16_weights, seed): compare(real, read_weights(vgg16_weights), seed)  # noqa: F811


def test_golden_files_are_what_torch_gives():
    for name, value in torch_pass(small_weights(), picture()).items():
        assert np.allclose(sampled(name, value), np.load(GOLDEN / "vgg16_small.npz")[name], rtol=1e-5, atol=1e-7), name
