"VGG16 against golden values of an independent pass in PyTorch (tests/torch_golden.py), and stability to the bit."
import subprocess
import sys

import jax
import numpy as np
import pytest
from torch_golden import GOLDEN, picture, sampled, small_weights

from inner_detectors.models import check_layers, layers, load_model
from inner_detectors.weights import read_weights, write_safetensors


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    "A complete VGG16 with 1/16 of the units and random parameters."
    return load_model("vgg16", write_safetensors(tmp_path_factory.mktemp("weights") / "small.safetensors", small_weights()), width=1 / 16)


@pytest.fixture(scope="session")
def real(vgg16_weights):
    "The thirteen convolutions that ImageNet trained."
    return load_model("vgg16", vgg16_weights)


def activations(model, images, names=None):
    "Layer -> activations, from one jitted call."
    names = names or list(layers(model))
    def forward(parameters, images):
        out = model.forward(parameters, model.preprocess(images))
        return {name: out[name] for name in names}
    return {name: np.asarray(out) for name, out in jax.jit(forward)(model.parameters, np.asarray(images)).items()}


def assert_golden(model, file):
    "Every layer equals the golden values to 1e-4 of its largest."
    golden = dict(np.load(GOLDEN / file))
    found = {name: sampled(name, out) for name, out in activations(model, picture()[None]).items()}
    assert list(golden) == list(layers(model))
    worst = {name: np.abs(found[name] - values).max() / values[-1] for name, values in golden.items()}
    assert max(worst.values()) < 1e-4, worst


def test_small_network_equals_torch(small): assert_golden(small, "vgg16_small.npz")


def test_real_convolutions_equal_torch(real): assert_golden(real, "vgg16_conv.npz")


def test_the_golden_values_are_not_trivial():
    for file in ("vgg16_small.npz", "vgg16_conv.npz"):
        for name, values in np.load(GOLDEN / file).items():
            assert values[-1] > 0 and np.unique(values).size > 2, f"{file}: {name}"


@pytest.mark.parametrize("batch", [2, 4])
def test_an_image_has_the_same_bits_in_any_batch(real, batch):
    names, images = ["conv3_3", "conv5_3", "pool5"], np.stack([picture(seed) for seed in range(batch)])
    alone, first, last = (activations(real, some, names) for some in (images[:1], images, np.roll(images, -1, 0)))
    for name in names:
        assert np.array_equal(alone[name][0], first[name][0]), name
        assert np.array_equal(alone[name][0], last[name][-1]), name


def test_only_what_is_asked_for_is_computed(small):
    "Two convolutions lead to pool1, and no more are in the program."
    def pool1(parameters, images): return small.forward(parameters, images)["pool1"]
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    assert jax.jit(pool1).lower(small.parameters, image).as_text().count("stablehlo.convolution") == 2


def test_real_weights_are_the_keras_form(vgg16_weights):
    arrays = read_weights(vgg16_weights)
    assert len(arrays) == 26 and sum(array.size for array in arrays.values()) == 14_714_688
    assert arrays["conv1_1/kernel"].flat[0] == np.float32(0.42947057)
    assert check_layers(load_model("vgg16", vgg16_weights), ["conv3_1", "pool5"])


def test_importing_starts_no_device():
    code = "import inner_detectors.models, jax._src.xla_bridge as bridge; assert not bridge._backends, bridge._backends"
    subprocess.run([sys.executable, "-c", code], check=True)
