"""Which network is it? An earlier run is taken for this one only where both compute the same, whatever the network is
called.

Every change that moves a number must change a network's record; the same network, made again here or in another
process, must not.
What needs PyTorch is skipped where it is not installed: `make test-torch` runs it.
"""

import functools
import importlib
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from flax import nnx
from onnx import TensorProto, helper, numpy_helper
from sentences import assert_says

from inner_detectors.core.errors import InputError
from inner_detectors.data.dataset import Data
from inner_detectors.dissection.protocol import netdissect
from dataclasses import replace
from inner_detectors.dissection.identity import fingerprint, weights_of
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import study
from inner_detectors.networks.identity import fingerprints_match
from inner_detectors.networks.code import UnknownCodeError, external_files, onnx_sha256, package_of
from inner_detectors.networks.spelling import hash_values
from inner_detectors.networks.adapters.nnx import from_nnx
from inner_detectors.networks.adapters.onnx import from_onnx
from inner_detectors.networks.adapters.torch import from_torch
from inner_detectors.networks.model import Model, layers
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.data.readers.registry import load_data

TENTH = replace(netdissect, quantile=0.1)
SCALE = 2.0


def mark(model):
    return weights_of(model)["computation_sha256"]


@pytest.fixture(scope="module")
def data():
    return load_data("scenes:8", progress=False)


def run(model, data, layer, out=None, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dissect(model, data, [layer], TENTH, out, progress=False, **more)


# ---- code


def helped(x):
    return x * SCALE


class Scaled:
    "Something to call, beside whose call nothing counts."

    by, times = 1.0, 0

    def __init__(self, by=None, note=""):
        if by is not None:
            self.by = by

    def __call__(self, x):
        return self.turned(x) * self.by

    def turned(self, x):
        return abs(x)

    def fit(self):
        return open("nowhere")


class Twice(Scaled):
    def turned(self, x):
        return 2 * super().turned(x)


def closing(by):
    return lambda x: x * by


def defaulting(by):
    return lambda x, by=by: x * by


def keyword(by):
    return lambda x, *, by=by: x * by


def reading():
    def inner(x):
        return helped(x) + 1

    return inner


def test_code_is_told_apart():
    """Constants, closures, defaults, attributes, methods, parts: every one of these is another; made again, each is the
    same."""

    def every():
        return [
            closing(1.0),
            closing(2.0),
            closing(np.ones(3)),
            closing(np.zeros(3)),
            closing(helped),
            defaulting(1.0),
            defaulting(2.0),
            keyword(1.0),
            keyword(2.0),
            reading(),
            Scaled(),
            Scaled(2.0),
            Twice(),
            Scaled().turned,
            Scaled(3.0).turned,
            functools.partial(helped),
            functools.partial(closing, 1),
            functools.partial(closing, 2),
            functools.partial(closing, by=2),
            {"a": 1},
            {"a": 2},
            [1, 2],
            (1, 2),
            {1, 2},
            {1, 3},
            "1",
            1,
            1.0,
            True,
            np.float32(1),
            np.float64(1),
            jnp.ones(2),
            jax.random.key(0),
            jax.random.key(1),
            lambda x: x / 255,
            lambda x: x / 127.5,
            lambda x: {"a", "b", x},
            np.add,
            len,
        ]

    first = [hash_values(one) for one in every()]
    assert len(set(first)) == len(first) and first == [hash_values(one) for one in every()]


def test_globals_and_helpers_count(monkeypatch):
    before = hash_values(reading())
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    moved = hash_values(reading())
    monkeypatch.setitem(globals(), "helped", lambda x: x * SCALE + 0)
    assert len({before, moved, hash_values(reading())}) == 3


def test_circles_end_and_what_cannot_be_read_is_said():
    one: list = []
    one.append(one)

    def recursive(x):
        return recursive(x)

    assert hash_values(one) == hash_values(one) and hash_values(recursive) == hash_values(recursive)
    stream = (number for number in range(3))
    with pytest.raises(UnknownCodeError, match="stream is a generator"):
        hash_values(lambda x: x + next(stream))


ELSEWHERE = """
import sys
from functools import partial
import numpy as np
from inner_detectors.dissection.identity import weights_of
from inner_detectors.networks.model import Model
class Ready:
    def __init__(self): self.mean, self.words = np.arange(3.0), {"a", "b", "c", "d"}
    def __call__(self, x): return (x - self.mean) / 255
ready = Ready()
def forward(parameters, images, names): return {"layer": images * len({"one", "two", "three"}) + sum(ready.mean)}
print(weights_of(Model("here", forward, size=4, traced=False))["computation_sha256"])
print(weights_of(Model("here", lambda parameters, images: {"layer": images}, np.ones(3), size=4, preprocess=ready))["computation_sha256"])
try: import torch
except ImportError: sys.exit()
from inner_detectors.networks.adapters.torch import from_torch
torch.manual_seed(0)
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
    def forward(self, x): return torch.relu(self.norm(self.conv(x))) * 0.5
net = Net()
net.conv.register_forward_hook(lambda module, given, out: out * 2)
print(weights_of(from_torch("here", net, 32, preprocess=lambda x: x / 255.0))["computation_sha256"])
"""


def test_a_network_is_the_same_in_another_process():
    said = {
        subprocess.run(
            [sys.executable, "-c", ELSEWHERE],
            env={"PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu", "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1 and len(said.pop().split()) >= 2


# ---- functions


def outside(by=1.0, **more):
    return Model("outside", lambda _, images, names: {"layer": images * by}, size=16, traced=False, **more)


def test_a_function_outside_jax_needs_no_more_than_a_name(data, tmp_path):
    "Its record, its run, its run again; and another function is refused in the same folder."

    def bare(start):
        return Model("bare", lambda _, images, names: {"layer": images[:, start::8, ::8]}, traced=False)

    first, again = (run(bare(0), data, "layer", tmp_path) for _ in range(2))
    assert first.table.attrs["date"] == again.table.attrs["date"]
    with pytest.raises(InputError, match="other weights"):
        run(bare(1), data, "layer", tmp_path)


@pytest.mark.parametrize(
    "ready",
    [
        lambda x: x / 127.5 - 1,
        functools.partial(lambda x, by: x / by, by=127.5),
        Scaled(0.5),
        closing(np.full(3, 0.5, np.float32)),
    ],
    ids=["lambda", "partial", "object", "array"],
)
def test_another_preprocessing_is_another_network(ready):
    def inside(**more):
        return Model("inside", lambda _, images: {"layer": images}, size=16, record={"weights_sha256": "0"}, **more)

    for make in (outside, inside):
        assert mark(make(preprocess=ready)) == mark(make(preprocess=ready)) != mark(make())


def test_a_hash_of_weights_does_not_hide_what_is_computed():
    "A record with a file's hash, and another forward, other parameters."

    def made(forward, parameters=2.0):
        return Model("net", forward, jnp.float32(parameters), 16, record={"weights_sha256": "0" * 64})

    one = made(lambda p, x: {"layer": x * p})
    assert mark(one) == mark(made(lambda p, x: {"layer": x * p}))
    assert mark(one) not in (mark(made(lambda p, x: {"layer": x + p})), mark(replace(one, parameters=jnp.float32(3))))


def test_what_is_called_back_into_python_counts():
    def made(by):
        return Model("back", lambda _, x: {"layer": jax.pure_callback(lambda x: x * np.float32(by), x, x)}, size=16)

    assert mark(made(1)) == mark(made(1)) != mark(made(2))


def test_code_that_cannot_be_read_is_taken_for_nothing_earlier(data, tmp_path):
    "It is said; another object of the same code is refused; the same one goes on to the rooms."

    def made():
        stream = (number for number in range(9))
        return Model(
            "unread", lambda _, images, names: {"layer": images[:, ::4, ::4] + (stream is None)}, size=32, traced=False
        )

    model = made()
    with pytest.warns(UserWarning, match="cannot be read, so it cannot be told"):
        found = dissect(model, data, ["layer"], TENTH, tmp_path, progress=False)
    assert study(found, model, data).names == ["layer"]
    with pytest.raises(InputError, match="stream is a generator") as refused:
        run(made(), data, "layer", tmp_path)
    assert_says(refused.value, "cannot be told", "Choose another folder")


# ---- fingerprints


def test_answers_tell_what_code_does_not(data, tmp_path, monkeypatch):
    """The record is made the same by force; the answers to two fixed images still part the networks: for a finished
    run, a study, lent thresholds."""
    from inner_detectors.dissection import identity as room

    monkeypatch.setattr(room, "computation", lambda model: {"computation_sha256": "0" * 64})
    room.PRINTS.clear()
    one, two = outside(1.0), outside(1.001)
    found = run(one, data, "layer", tmp_path)
    assert run(outside(1.0), data, "layer", tmp_path).table.attrs["date"] == found.table.attrs["date"]
    for call in (
        lambda: run(two, data, "layer", tmp_path),
        lambda: study(found, two, data),
        lambda: run(two, data, "layer", thresholds=found),
    ):
        with pytest.raises(InputError, match="answers two fixed images otherwise"):
            call()
    with pytest.raises(InputError, match="keeps no fingerprint"):
        study(Dissection(found.table.drop_vars("fingerprint")), one, data)


def test_a_checkpoint_of_another_network_is_not_taken_up(data, tmp_path, monkeypatch, capsys):
    from inner_detectors.dissection import identity as room

    monkeypatch.setattr(room, "computation", lambda model: {"computation_sha256": "0" * 64})

    class Stopping(Scenes):
        stops = True

        def sample(self, key):
            if self.stops and key == self.keys[6]:
                raise RuntimeError("stopped")
            return super().sample(key)

    source = Stopping(8)
    with pytest.raises(RuntimeError, match="stopped"):
        run(outside(1.0), Data([source]), "layer", tmp_path, batch=2, every=0)
    source.stops = False
    found = run(outside(1.001), Data([source]), "layer", tmp_path, batch=2, every=0)
    assert "is of another run and will be replaced" in capsys.readouterr().err
    np.testing.assert_array_equal(
        found.table.threshold, run(outside(1.001), Data([source]), "layer", batch=2).table.threshold
    )


def test_a_network_that_answers_otherwise_each_time_is_refused(data):
    random = np.random.default_rng(0)
    model = Model(
        "noisy", lambda _, images, names: {"still": images, "noisy": images + random.normal()}, size=16, traced=False
    )
    with pytest.raises(InputError) as refused:
        run(model, data, "noisy")
    assert_says(refused.value, "noisy: layer 'noisy'", "Switch that off")
    assert run(model, data, "still").table.sizes["unit"] == 3


def test_a_network_whose_answers_hang_on_the_batch_is_refused(data):
    "Unless one image is shown at a time, in rooms as in the dissection."
    model = Model("centred", lambda _, x: {"layer": x - x.mean((0, 1, 2))}, size=16)
    with pytest.raises(InputError) as refused:
        run(model, data, "layer")
    assert_says(refused.value, "'layer'", "beside other images", "--batch 1")
    found = run(model, data, "layer", batch=1)
    assert study(found, model, data, batch=1).names == ["layer"]
    with pytest.raises(InputError, match="beside other images"):
        study(found, model, data)


def test_a_fingerprint_is_of_every_unit_and_position():
    def model(change):
        return Model("net", lambda _, x: {"layer": x.at[:, 3, 5, 1].add(change)}, size=16)

    one, near, far = (fingerprint(model(by), ["layer"], weights_of(model(by))) for by in (0.0, 1e-6, 1e-3))
    assert one.shape == (3, 3) and fingerprints_match(one, near) and not fingerprints_match(one, far)


# ---- ONNX


def onnx_file(path, scale=1.0, opset=17, kernel=3):
    "A convolution whose kernels lie beside the file."
    array = (np.random.RandomState(0).normal(size=(4, 3, kernel, kernel)) * scale).astype(np.float32)
    nodes = [helper.make_node("Conv", ["image", "w"], ["conv"], strides=[4, 4])]
    given = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("image", ["N", 3, 32, 32]), ("conv", None))
    ]
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)
    graph = helper.make_graph(nodes, "g", given[:1], given[1:], [numpy_helper.from_array(array, "w")])
    onnx.save_model(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8),
        str(path),
        save_as_external_data=True,
        location=f"{path.name}.data",
        size_threshold=0,
    )
    return path


def test_files_beside_an_onnx_file_are_part_of_it(tmp_path):
    one = onnx_sha256(onnx_file(tmp_path / "net.onnx"))
    assert external_files(tmp_path / "net.onnx") == ["net.onnx.data"]
    content = (tmp_path / "net.onnx").read_bytes()
    other = onnx_sha256(onnx_file(tmp_path / "net.onnx", 2.0))
    assert (tmp_path / "net.onnx").read_bytes() == content and one != other
    assert (
        onnx_sha256(onnx_file(tmp_path / "net.onnx")) == one != onnx_sha256(onnx_file(tmp_path / "net.onnx", opset=16))
    )
    (tmp_path / "net.onnx.data").unlink()
    with pytest.raises(InputError, match="No such file"):
        onnx_sha256(tmp_path / "net.onnx")


def test_a_run_of_another_onnx_file_is_refused(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run(from_onnx(onnx_file(tmp_path / "net.onnx")), data, "conv", tmp_path / "out")
    assert (
        run(from_onnx(tmp_path / "net.onnx"), data, "conv", tmp_path / "out").table.attrs["date"]
        == found.table.attrs["date"]
    )
    for other in (
        lambda: from_onnx(tmp_path / "net.onnx", preprocess=lambda x: x / 255.0),
        lambda: from_onnx(onnx_file(tmp_path / "net.onnx", 2.0)),
    ):
        with pytest.raises(InputError, match="other weights"):
            run(other(), data, "conv", tmp_path / "out")


# ---- PyTorch


def torch_nets():
    "Networks of equal parameters, of which no two compute the same."
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")
    nn = torch.nn
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3, 4)

    def scaled(x, by=0.5):
        return x * by

    class Forward(nn.Module):
        def __init__(self, body=lambda x: x, **more):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 4)
            self.conv.load_state_dict(conv.state_dict())
            self.body = body
            for name, value in more.items():
                setattr(self, name, value)

        def forward(self, x):
            return self.conv(self.body(x))

    class Halved(Forward):
        def forward(self, x):
            return self.conv(x * 0.5)

    class Constant(Forward):
        FACTOR = 3

        def forward(self, x):
            return self.conv(x * self.FACTOR)

    def hooked(kind, hook):
        net = Forward()
        getattr(net.conv, f"register_forward_{kind}")(hook)
        return net

    def buffered(value):
        net = Forward()
        net.register_buffer("unsaved", torch.tensor(value), persistent=False)
        return net

    def normed(eps=1e-5, mean=0.0):
        net = Forward(norm=nn.BatchNorm2d(3, eps=eps))
        net.norm.running_mean += mean
        return net

    class Extra(Forward):
        def get_extra_state(self):
            return {"by": self.by}

        def set_extra_state(self, state):
            self.by = state["by"]

    strided = Forward()
    strided.conv.stride = (2, 2)
    return {
        "plain": Forward(),
        "class": Halved(),
        "constant": Constant(),
        "closure": Forward(closing(0.25)),
        "closure 2": Forward(closing(0.75)),
        "partial": Forward(functools.partial(scaled, by=0.1)),
        "partial 2": Forward(functools.partial(scaled, by=0.2)),
        "function": Forward(scaled),
        "object": Forward(Scaled(2.0)),
        "object 2": Forward(Scaled(4.0)),
        "method": Forward(Scaled(2.0).turned),
        "array": Forward(closing(np.float32([1, 2, 3]).sum())),
        "hook": hooked("hook", lambda module, given, out: out * 2),
        "hook 2": hooked("hook", lambda module, given, out: out * 3),
        "pre-hook": hooked("pre_hook", lambda module, given: (given[0] * 2,)),
        "buffer": buffered(1.0),
        "buffer 2": buffered(2.0),
        "norm": normed(),
        "epsilon": normed(eps=0.1),
        "mean": normed(mean=1.0),
        "slope": Forward(nn.LeakyReLU(0.1)),
        "slope 2": Forward(nn.LeakyReLU(0.2)),
        "extra": Extra(by=1),
        "extra 2": Extra(by=2),
        "stride": strided,
    }


def test_networks_of_equal_parameters_are_told_apart():
    nets = torch_nets()
    marks = {name: mark(from_torch("net", net, 32)) for name, net in nets.items()}
    assert len(set(marks.values())) == len(marks)
    assert marks == {name: mark(from_torch("net", net, 32)) for name, net in torch_nets().items()}
    assert not any("computation_unknown" in weights_of(from_torch("net", net, 32)) for net in nets.values())


def test_the_hash_of_a_module_covers_what_it_holds():
    nets = torch_nets()
    hashes = {
        name: from_torch("net", nets[name], 32).record["weights_sha256"]
        for name in ("plain", "buffer", "buffer 2", "norm", "epsilon", "mean", "slope", "slope 2", "extra", "extra 2")
    }
    assert len(set(hashes.values())) == len(hashes)


def test_weights_changed_after_the_model_was_made_count():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 4))
    model = from_torch("net", module, 32)
    before = mark(model)
    module.train()
    assert mark(model) == before
    with torch.no_grad():
        module[0].weight[0] += 1
    assert mark(model) != before


def test_a_run_of_another_forward_is_refused(data, tmp_path):
    nets = torch_nets()
    found = run(from_torch("net", nets["plain"], 32), data, "conv", tmp_path)
    assert (
        run(from_torch("net", torch_nets()["plain"], 32), data, "conv", tmp_path).table.attrs["date"]
        == found.table.attrs["date"]
    )
    for other in (
        from_torch("net", nets["class"], 32),
        from_torch("net", nets["plain"], 32, preprocess=lambda x: x / 255.0),
    ):
        with pytest.raises(InputError, match="other weights"):
            run(other, data, "conv", tmp_path)
        with pytest.raises(InputError, match="other weights"):
            study(found, other, data)


def test_dropout_and_the_statistics_of_a_batch(data):
    "A module is put into evaluation mode, again before each run; what stays on is refused by layer."
    torch = pytest.importorskip("torch")
    nn = torch.nn
    usual = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.Dropout(0.5), nn.BatchNorm2d(4))
    model = from_torch("net", usual, 32)
    usual.train()
    assert run(model, data, "2").table.sizes["unit"] == 4 and not usual.training

    class Always(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 4)

        def forward(self, x):
            return self.conv(nn.functional.dropout(x))

    with pytest.raises(InputError, match="layer 'conv' answers otherwise each time"):
        run(from_torch("net", Always(), 32), data, "conv")
    batch = nn.Sequential(nn.Conv2d(3, 4, 3, 4), nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(InputError, match="layer '1' answers an image otherwise beside"):
        run(from_torch("net", batch, 32), data, "1")
    assert run(from_torch("net", batch, 32), data, "1", batch=1).table.sizes["unit"] == 4
    assert run(from_torch("net", batch, 32), data, "0").table.sizes["unit"] == 4


# ---- Flax


def test_random_streams_are_no_parameters():
    class Net(nnx.Module):
        def __init__(self, seed, rate=0.5):
            self.conv, self.drop = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)), nnx.Dropout(rate, rngs=nnx.Rngs(seed))
            self.streams = nnx.Rngs(seed)

        def __call__(self, x):
            return self.drop(self.conv(x))

    assert mark(from_nnx("net", Net(0), 16)) == mark(from_nnx("net", Net(1), 16))
    keyed = {"w": jnp.ones((3, 4)), "key": jax.random.key(0)}
    model = Model("keyed", lambda p, x: {"a": x @ p["w"]}, keyed, 16)
    assert mark(model) == mark(model) != mark(replace(model, parameters=keyed | {"key": jax.random.key(1)}))
    assert layers(model) == {"a": (16, 16, 4)}


def test_attributes_of_flax_modules_count():
    class Net(nnx.Module):
        def __init__(self, by=1.0, eps=1e-5):
            self.norm, self.by = nnx.BatchNorm(3, epsilon=eps, rngs=nnx.Rngs(0)), by

        def __call__(self, x):
            return self.norm(x) * self.by

    marks = [mark(from_nnx("net", Net(*given), 16)) for given in ((), (2.0,), (1.0, 0.1))]
    assert len(set(marks)) == 3


def test_importing_verify_shows_nothing(root):
    "No module draws or runs what its notebook shows."
    for path in (root / "inner_detectors").rglob("*.py"):
        loose = [
            line
            for line in path.read_text(encoding="utf-8").splitlines()
            if line.startswith(("Image.", "plt.", "print(", "display("))
        ]
        assert not loose, path.name


def test_every_wing_belongs_to_the_package():
    "What stands in a folder of the package is known by its name and version, and is no code of one's own."
    for module in ("inner_detectors", "inner_detectors.passes.probe", "inner_detectors.networks.adapters.torch"):
        assert package_of(importlib.import_module(module).__name__) == "inner_detectors"
    assert package_of(__name__) is None
