"""What changes between two runs in one process, on the very same objects: a network that is trained on, a global that
preprocessing reads, a file that is
replaced. And what only shows where each image is run alone."""

from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sentences import assert_says

from inner_detectors.core.errors import InputError
from inner_detectors.data.readers.registry import load_data
from inner_detectors.dissection.identity import weights_of
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import study
from inner_detectors.networks.adapters.nnx import from_nnx
from inner_detectors.networks.adapters.onnx import from_onnx
from inner_detectors.networks.adapters.torch import from_torch
from inner_detectors.networks.model import Model, layers
from inner_detectors.networks.registry import load_model

SIZE = 32
DATA = load_data("scenes:8")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def run(model, out=None, names=None, batch=4, data=DATA):
    return dissect(model, data, names, out=out, batch=batch, progress=False)


def numbers(found):
    return found.table.threshold.values, found.table.intersection.values


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(numbers(one), numbers(other), strict=True))


def refused(act, *words):
    with pytest.raises(InputError) as said:
        act()
    assert_says(said.value, *words)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")


def trained(torch):
    "A network whose running statistics are not those of any batch."
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
    for _ in range(20):
        net(torch.rand(8, 3, SIZE, SIZE) * 3)
    return net.eval()


# ---- the network


@pytest.mark.parametrize("part", [None, 1])
def test_a_network_in_training_mode_is_evaluated(torch, part):
    "Whole or in part; and its statistics stay as they were."
    net = trained(torch)
    right, state = (
        run(from_torch("n", net, SIZE), names=["2"]),
        {name: value.clone() for name, value in net.state_dict().items()},
    )
    model = from_torch("n", net, SIZE)
    (net if part is None else net[part]).train()
    found = run(model, names=["2"])
    (net if part is None else net[part]).train()
    study(found, model, DATA)
    assert same(found, right)
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())


def test_a_network_that_is_trained_on_is_another(torch, tmp_path):
    net = trained(torch)
    model = from_torch("n", net, SIZE)
    first = weights_of(model)["weights_sha256"]
    with torch.no_grad():
        net[0].weight.mul_(-1)
    run(model, tmp_path / "a", ["2"])
    assert weights_of(model)["weights_sha256"] == weights_of(from_torch("n", net, SIZE))["weights_sha256"] != first
    run(from_torch("n", net, SIZE), tmp_path / "a", ["2"])  # the very same weights: the finished run is taken


def test_arrays_beside_an_onnx_file_are_replaced(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def write(seed):
        kernel = np.random.default_rng(seed).normal(size=(8, 3, 4, 4)).astype(np.float32)
        graph = helper.make_graph(
            [
                helper.make_node("Conv", ["x", "w"], ["inner"], strides=[4, 4]),
                helper.make_node("Relu", ["inner"], ["maps"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
            [helper.make_tensor_value_info("maps", TensorProto.FLOAT, ["n", 8, 8, 8])],
            [numpy_helper.from_array(kernel, "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        (tmp_path / "net.onnx.data").unlink(missing_ok=True)
        onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.onnx.data", size_threshold=0)

    write(0)
    model = from_onnx(tmp_path / "net.onnx")
    run(model, names=["inner"])
    model = from_onnx(tmp_path / "net.onnx")
    write(1)
    refused(lambda: run(model, names=["inner"]), "net.onnx.data", "has changed or gone", "Open net.onnx again")


# ---- what preprocessing and forward read

SHIFT = 0.0


def shifted(images):
    return images / 255.0 - SHIFT


class Holder:
    "A preprocessing with something to change."

    def __init__(self, shift):
        self.shift = np.array([shift], np.float32)

    def __call__(self, images):
        return images / 255.0 - self.shift[0]


def plain(preprocess):
    "A network outside JAX."

    def forward(parameters, images, names):
        return {"maps": np.maximum(images, 0.2)[:, ::4, ::4]}

    return Model("plain", forward, (), SIZE, preprocess, traced=False)


def test_a_global_that_preprocessing_reads(monkeypatch, tmp_path):
    before = run(plain(shifted), tmp_path / "a")
    monkeypatch.setitem(globals(), "SHIFT", 0.5)
    refused(lambda: run(plain(shifted), tmp_path / "a"), "holds the result of another run")
    after = run(plain(shifted), tmp_path / "b")
    assert same(after, run(plain(lambda images: images / 255.0 - 0.5))) and not same(after, before)


def test_an_array_that_preprocessing_holds(tmp_path):
    holder = Holder(0.0)
    run(plain(holder), tmp_path / "a")
    holder.shift[0] = 0.5
    refused(lambda: run(plain(holder), tmp_path / "a"), "holds the result of another run")
    assert same(run(plain(holder), tmp_path / "b"), run(plain(Holder(0.5))))


def test_preprocessing_in_numpy():
    found = run(plain(lambda images: np.asarray(images) / np.float32(255)))
    np.testing.assert_allclose(numbers(found)[0], numbers(run(plain(lambda images: images / 255.0)))[0], rtol=1e-6)
    refused(lambda: run(plain(lambda images: images.no_such_thing)), "plain", "preprocess")


STEP = 4


@pytest.mark.parametrize("traced", [True, False])
def test_a_step_that_forward_reads(monkeypatch, traced):
    "The shapes of the layers are asked for anew in every run."

    def forward(parameters, images, names=None):
        return {"maps": (jnp if traced else np).asarray(images)[:, ::STEP, ::STEP]}

    model = Model("m", forward, (), SIZE, traced=traced)
    run(model)
    monkeypatch.setitem(globals(), "STEP", 2)
    found = run(model)
    assert same(found, run(Model("m", forward, (), SIZE, traced=traced))) and layers(model)["maps"] == (16, 16, 3)


# ---- alone in the batch


class Dropping(nnx.Module):
    "Dropout that no usual word switches off."

    def __init__(self, rngs):
        self.conv, self.drop = nnx.Conv(3, 4, (3, 3), rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, still_as_stone=False):
        return self.drop(self.conv(x), deterministic=still_as_stone)


def drawn(parameters, images):
    "Noise by a fixed key."
    kept = jax.random.bernoulli(jax.random.key(0), 0.5, images.shape)
    return {"maps": jnp.where(kept, images, 0)[:, ::2, ::2]}


def redrawn(parameters, images):
    return {"maps": images[:, ::2, ::2] + np.random.rand()}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: from_nnx("n", Dropping(nnx.Rngs(0)), SIZE), ["answers"]),
        (lambda: Model("n", drawn, (), SIZE), ["answers"]),
        (lambda: Model("n", redrawn, (), SIZE), ["each time JAX reads it"]),
    ],
    ids=["dropout", "key", "numpy"],
)
def test_noise_is_found_in_any_batch(model, words, batch):
    refused(lambda: run(model(), batch=batch), "n:", *words)


def test_the_batchs_own_statistics_are_taken_alone():
    def forward(parameters, images):
        return {"maps": (images - images.mean((0, 1, 2)))[:, ::2, ::2]}

    refused(lambda: run(Model("n", forward, (), SIZE)), "batch=1")
    assert run(Model("n", forward, (), SIZE), batch=1).table.sizes["unit"] == 3


# ---- one sentence each


def only(**more):
    return lambda parameters, images, names=None: more


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (
            lambda: run(Model("m", lambda p, x: {"a": jnp.fft.fft2(x, axes=(1, 2))}, (), SIZE)),
            ["'a'", "complex64", "Make them real"],
        ),
        (
            lambda: run(Model("m", lambda p, x, n: {"a": np.fft.fft2(x, axes=(1, 2))}, (), SIZE, traced=False)),
            ["'a'", "complex", "Make them real"],
        ),
        (lambda: run(Model("m", lambda p, x: {3: x}, (), SIZE)), ["calls a layer 3", "Call it '3'"]),
        (lambda: run(Model("m", lambda p, x: {"a": x[..., :0]}, (), SIZE), names=["a"]), ["'a'", "nothing"]),
        (lambda: load_model("net.onnx", "/nowhere.pth"), ["net.onnx", "Leave out weights"]),
    ],
    ids=["complex", "complex outside", "name", "empty", "weights"],
)
def test_what_is_wrong_is_said(act, words):
    refused(act, *words)


def test_a_forward_that_fails_on_photographs():
    def forward(parameters, images, names):
        if images.any() and len(images) > 2:
            raise ValueError("too bright")
        return {"a": images}

    refused(lambda: run(Model("m", forward, (), SIZE, traced=False)), "m:", "too bright")


def test_a_layer_that_is_not_given():
    def forward(parameters, images, names):
        return OrderedDict(a=images, b=images) if names is None else {"b": images}

    refused(lambda: run(Model("m", forward, (), SIZE, traced=False), names=["a"]), "does not give layer 'a'")


def test_endings_and_paths_of_onnx_files(tmp_path):
    refused(lambda: load_model(tmp_path / "NET.ONNX"), "NET.ONNX")
    try:
        load_model(str(tmp_path / "NET.ONNX"))
    except InputError as said:
        assert "no model" not in str(said)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_flipped_map_is_no_map(axis):
    class Flipping(nnx.Module):
        def __init__(self):
            self.inner = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.inner(jnp.flip(x, axis))

    model = from_nnx("n", Flipping(), SIZE)
    assert "inner" in model.absent or "inner" not in layers(model)
