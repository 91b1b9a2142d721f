"""A network run with other values in a layer: the same network, with a way around one of its layers, as a function of
JAX, as a module of Flax's nnx and linen, as a PyTorch module and as an ONNX file, against the obvious slow reference;
and what is built on it. PyTorch's part is skipped where it is not installed: `make test-torch` runs it.
"""

import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from sentences import assert_says

from inner_detectors.analyses.ablation import constant, each_unit, removal_fold
from inner_detectors.analyses.insertion import insert
from inner_detectors.analyses.linear_probe import with_probe
from inner_detectors.analyses.simulation import simulation
from inner_detectors.analyses.unit_removal import unit_removal
from inner_detectors.core.errors import InputError
from inner_detectors.data.dataset import Data
from inner_detectors.data.labels import folder_classes
from inner_detectors.data.sample import Region, Sample
from inner_detectors.data.vocabulary import Concept, Vocabulary
from inner_detectors.dissection.protocol import netdissect
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import goes_on, study
from inner_detectors.networks.adapters.nnx import from_linen, from_nnx
from inner_detectors.networks.adapters.onnx import from_onnx
from inner_detectors.networks.adapters.torch import from_torch
from inner_detectors.networks.building import run_steps
from inner_detectors.networks.cut import cut_at
from inner_detectors.networks.identity import hash_traced
from inner_detectors.networks.model import Model, layers
from inner_detectors.passes.batches import View
from inner_detectors.passes.edit import edit, halves
from inner_detectors.passes.probe import probe
from inner_detectors.passes.sweep import sweep
from inner_detectors.transfer.detector_bank import detector_bank
from inner_detectors.transfer.network import transfer
from inner_detectors.views.explorer.explorer import Explorer
from inner_detectors.views.explorer.measuring import answer_function

SIZE, UNITS, CLASSES = 16, 6, ("red", "green", "blue")
LAYERS = ["low", "inner", "sum", "mean", "scores"]  # in each of which values are replaced
KINDS = ["function", "nnx", "linen", "torch", "onnx"]


def numbers(seed=0):
    "Kernels [3 3 below unit] of two convolutions, and a matrix."
    draw = np.random.default_rng(seed)
    return {
        "low": draw.normal(size=(3, 3, 3, UNITS)).astype(np.float32),
        "inner": draw.normal(size=(3, 3, UNITS, UNITS)).astype(np.float32) / 4,
        "scores": draw.normal(size=(UNITS, 3)).astype(np.float32) / 8,
    }


def convolved(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )


def by_hand(parameters, x, edit=lambda name, values: values):
    "The network: what goes into `inner` is added to what comes out. `edit` may replace the values of each layer."
    out = {"low": edit("low", jax.nn.relu(convolved(x, parameters["low"])))}
    out["inner"] = edit("inner", jax.nn.relu(convolved(out["low"], parameters["inner"])))
    out["sum"] = edit("sum", out["inner"] + out["low"])
    out["mean"] = edit("mean", out["sum"].mean((1, 2), keepdims=True))
    out["scores"] = edit("scores", out["mean"] @ parameters["scores"])
    out["prob"] = jax.nn.softmax(out["scores"])
    return out


def expected(images, layer, change, seed=0):
    "The reference: all of it, from the image on."
    x = jnp.asarray(images, jnp.float32) / 255
    return by_hand(numbers(seed), x, lambda name, values: jnp.asarray(change(values)) if name == layer else values)


# ---- the network in each of its kinds


class Kernel(nnx.Module):
    def __init__(self, kernel, run):
        self.kernel, self.run = nnx.Param(jnp.asarray(kernel)), run

    def __call__(self, x):
        return self.run(x, self.kernel[...])


class Call(nnx.Module):
    def __init__(self, run):
        self.run = run

    def __call__(self, *given):
        return self.run(*given)


class Flax(nnx.Module):
    def __init__(self, parameters):
        self.low, self.inner = (
            Kernel(parameters[name], lambda x, kernel: nnx.relu(convolved(x, kernel))) for name in ("low", "inner")
        )
        self.sum, self.mean = Call(lambda one, other: one + other), Call(lambda x: x.mean((1, 2)))
        self.scores, self.prob = Kernel(parameters["scores"], lambda x, kernel: x @ kernel), Call(nnx.softmax)

    def __call__(self, x):
        low = self.low(x)
        return self.prob(self.scores(self.mean(self.sum(self.inner(low), low))))


class LinenStep(linen.Module):
    kind: str
    shape: tuple = ()

    @linen.compact
    def __call__(self, *given):
        if self.kind == "sum":
            return given[0] + given[1]
        if self.kind == "mean":
            return given[0].mean((1, 2))
        if self.kind == "prob":
            return linen.softmax(given[0])
        kernel = self.param("kernel", linen.initializers.zeros, self.shape)
        return given[0] @ kernel if self.kind == "scores" else linen.relu(convolved(given[0], kernel))


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x):
        low = LinenStep("low", (3, 3, 3, UNITS), name="low")(x)
        inner = linen.remat(LinenStep)("inner", (3, 3, UNITS, UNITS), name="inner")(low)  # a call inside the program
        mean = LinenStep("mean", name="mean")(LinenStep("sum", name="sum")(inner, low))
        return LinenStep("prob", name="prob")(LinenStep("scores", (UNITS, 3), name="scores")(mean))


def torch_module(parameters):
    "With a ReLU that works in place, on the very tensor that goes around `inner`."
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")
    nn = torch.nn

    class Sum(nn.Module):
        def forward(self, one, other):
            return one + other

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            pairs = [(name, parameters[name]) for name in ("low", "inner")]
            for name, kernel in pairs:
                conv = nn.Conv2d(kernel.shape[2], UNITS, 3, padding=1, bias=False)
                conv.weight.data = torch.tensor(kernel.transpose(3, 2, 0, 1).copy())
                setattr(self, name, nn.Sequential(conv, nn.ReLU(inplace=True)))
            self.sum, self.mean = Sum(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.scores, self.prob = nn.Linear(UNITS, 3, bias=False), nn.Softmax(-1)
            self.scores.weight.data = torch.tensor(parameters["scores"].T.copy())

        def forward(self, x):
            low = self.low(x)
            return self.prob(self.scores(self.mean(self.sum(self.inner(low), low))))

    return Net()


def onnx_nodes(helper):
    return [
        helper.make_node("Conv", ["image", "k_low"], ["c_low"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c_low"], ["low"]),
        helper.make_node("Conv", ["low", "k_inner"], ["c_inner"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c_inner"], ["inner"]),
        helper.make_node("Add", ["inner", "low"], ["sum"]),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["mean"]),
        helper.make_node("MatMul", ["mean", "matrix"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["prob"]),
    ]


def onnx_file(path, parameters, batch="batch", kind=np.float32):
    import onnx
    from onnx import helper, numpy_helper

    type_ = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    arrays = {f"k_{name}": parameters[name].transpose(3, 2, 0, 1) for name in ("low", "inner")}
    held = [
        numpy_helper.from_array(np.ascontiguousarray(array).astype(kind), name)
        for name, array in (arrays | {"matrix": parameters["scores"]}).items()
    ]
    given = helper.make_tensor_value_info("image", type_, [batch, 3, SIZE, SIZE])
    out = helper.make_tensor_value_info("prob", type_, [batch, 3])
    graph = helper.make_graph(onnx_nodes(helper), "small", [given], [out], held)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def made(kind, folder, seed=0):
    "The network as a Model."
    parameters = numbers(seed)
    if kind == "function":
        return Model("small", by_hand, jax.tree.map(jnp.asarray, parameters), SIZE, classes=CLASSES)
    if kind == "nnx":
        model = from_nnx("small", Flax(parameters), SIZE)
    elif kind == "linen":
        model = from_linen("small", Linen(), {name: {"kernel": array} for name, array in parameters.items()}, SIZE)
    elif kind == "torch":
        model = from_torch("small", torch_module(parameters), SIZE, "unit-range")
    else:
        model = from_onnx(onnx_file(folder / "small.onnx", parameters), preprocess="unit-range")
    return replace(model, classes=CLASSES)


class Squares:
    "A square of one of three colours, by turns, at one of several places."

    name, concepts = "squares", Vocabulary([Concept(name, "colour") for name in CLASSES])

    def __init__(self, number=48):
        self.keys = [f"{CLASSES[i % 3]}/{i:03}.png" for i in range(number)]

    def sample(self, key):
        place, mask = int(key[-7:-4]), np.zeros((SIZE, SIZE), bool)
        mask[place % 5 : place % 5 + 8, place % 7 : place % 7 + 8] = True
        image = np.full((SIZE, SIZE, 3), 30 + place % 9, np.uint8)
        image[mask] = 200 * np.eye(3, dtype=np.uint8)[place % 3] + place % 11
        return Sample(key, image, (Region(CLASSES[place % 3], mask),))

    def identity(self):
        return {"images": f"drawn by hand, {len(self.keys)}"}


def pictures(number=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, SIZE, SIZE, 3)).astype(np.uint8)


@pytest.fixture(params=KINDS)
def model(request, tmp_path):
    return made(request.param, tmp_path)


def without(*units):
    return lambda maps: np.where(np.isin(np.arange(maps.shape[-1]), units), np.float32(0), np.asarray(maps))


# ---- an edit, against the reference


@pytest.mark.parametrize("layer", LAYERS)
def test_later_layers_follow_from_the_values(model, layer):
    "Some units gone, the others doubled; every later layer, and what passes around as it was."
    images = pictures()

    def change(maps):
        return without(1)(maps) * np.float32(2)

    names = [*LAYERS, "prob"][LAYERS.index(layer) + 1 :]
    found, wanted = edit(model, layer, change, names)(images), expected(images, layer, change)
    assert set(found) == set(names)
    for name in names:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-5)
    plain = expected(images, None, None)
    assert np.abs(np.asarray(found["prob"]) - plain["prob"]).max() > 1e-3  # it does something
    same = edit(model, layer, lambda maps: maps, names)(images)
    for name in names:
        np.testing.assert_allclose(same[name], plain[name], rtol=1e-4, atol=1e-5)


def test_all_later_layers_are_given_where_none_is_named(model):
    found = edit(model, "sum", without(0))(pictures())
    assert {"mean", "scores", "prob"} <= set(found) and not {"low", "inner", "sum"} & set(found)


def test_a_cut_knows_what_passes_around(tmp_path):
    "Beside `inner` stands one array; everything passes through `low` and `sum`."
    for kind in ("function", "nnx", "linen"):
        one = made(kind, tmp_path)
        assert [cut_at(one, layer).around for layer in ("low", "inner", "sum")] == [False, True, False], kind
        beside = cut_at(one, "inner").beside(one.parameters, pictures())
        assert [array.shape for array in beside] == [(5, 1, SIZE, SIZE, UNITS)]


def test_an_image_does_not_depend_on_those_beside_it(model):
    images = pictures()
    whole = edit(model, "inner", without(2), ["prob"])(images)["prob"]
    alone = [edit(model, "inner", without(2), ["prob"])(images[i : i + 1])["prob"] for i in range(len(images))]
    np.testing.assert_allclose(np.concatenate(alone), whole, rtol=1e-4, atol=1e-6)


def test_a_network_of_steps_goes_on_by_its_own_steps():
    "The program is that of the later steps, operation by operation, so no number moves by a bit."
    matrix = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)
    steps = [
        ("first", lambda p, x: jax.nn.relu(x @ p)),
        ("second", lambda p, x: jax.nn.gelu(x * 2)),
        ("scores", lambda p, x: x.mean((1, 2), keepdims=True) @ (p.T @ p)),
        ("prob", lambda p, x: jax.nn.softmax(x)),
    ]

    def run(parameters, x, begin=0):
        return run_steps([(name, lambda x, step=step: step(parameters, x)) for name, step in steps[begin:]], x)

    model = Model("steps", run, matrix, 8)
    for place, (name, _) in enumerate(steps[:-1]):
        maps = jax.ShapeDtypeStruct((7, *layers(model)[name]), jnp.float32)
        at = cut_at(model, name)
        assert not at.around
        mine = hash_traced(lambda parameters, maps, at=at: at.after(parameters, maps, ()), matrix, maps)
        theirs = hash_traced(lambda parameters, maps, place=place: run(parameters, maps, place + 1), matrix, maps)
        assert mine == theirs, name


def test_the_part_before_the_layer_runs_once_an_image(tmp_path):
    "Of a network with a way around: once for the layer's values, once for what passes around, and no more."
    rows = {"low": 0, "scores": 0}

    def counted(name, x):
        def count(value):
            rows[name] += int(np.prod(value.shape[:-3]))  # an image at a time comes with one axis more
            return value

        return jax.pure_callback(count, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="expand_dims")

    def forward(parameters, x):
        return by_hand(parameters, x, lambda name, values: counted(name, values) if name in rows else values)

    model = replace(made("function", None), forward=forward)
    data = Data([Squares(8)])
    labels = folder_classes(data, CLASSES)
    fold = removal_fold(model, "inner", labels, each_unit(range(UNITS), UNITS), len(data), constant(0.0, UNITS))
    found = fold.result(sweep(fold, data, model, ["inner"], View(SIZE, 8, batch=4), progress=False).state)
    assert found.logprob.shape == (8, UNITS + 1, 1)
    assert rows["low"] == 2 * len(data)
    assert len(data) * (UNITS + 1) <= rows["scores"] <= 2 * len(data) * (UNITS + 1)


# ---- what is built on it


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    "Unit removal and simulation of the function, on its own dissection."
    return analysed("function", tmp_path_factory.mktemp("function"))


def studied(kind, folder):
    model, data = made(kind, folder), Data([Squares()])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a geometry that is taken for tiles
        found = dissect(model, data, ["inner"], replace(netdissect, quantile=0.1), progress=False)
    return study(found, model, data)


def analysed(kind, folder, out=None):
    these = studied(kind, folder)
    labels = folder_classes(these.data, CLASSES)
    removed = unit_removal(
        these, layer="inner", labels=labels, scores="scores", k=2, controls=2, out=out, progress=False
    )
    simulated = simulation(these, layer="inner", labels=labels, scores="scores", out=out, progress=False)
    return these, removed.table, simulated.table


def test_the_reference_removes_what_it_says(reference):
    "Each unit's cost, computed by hand from the image on."
    these, removed, _ = reference
    images = np.stack([these.data.example(i, SIZE, these.view.side, 0).image for i in range(len(these.data))])
    truth = np.arange(len(images)) % 3

    def logprob(units):
        prob = expected(images, "inner", without(*units))["prob"]
        return np.log(np.asarray(prob)[range(len(images)), 0, 0, truth])

    fold = removal_fold(
        these.model, "inner", folder_classes(these.data, CLASSES), each_unit(range(UNITS), UNITS), 48, constant(0, 6)
    )
    found = fold.result(sweep(fold, these.data, these.model, ["inner"], these.view, progress=False).state)
    for place, units in enumerate([(), *((unit,) for unit in range(UNITS))]):
        np.testing.assert_allclose(found.logprob[:, place, 0], logprob(units), rtol=1e-4, atol=1e-4)
    assert np.abs(removed.logprob).max() > 0.01


@pytest.mark.parametrize("kind", KINDS[1:])
def test_unit_removal_and_simulation_of_every_kind(kind, reference, tmp_path):
    "The tables are those of the function, and a finished run is found again."
    these, removed, simulated = analysed(kind, tmp_path, tmp_path / "out")
    np.testing.assert_allclose(removed.logprob, reference[1].logprob, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(removed.intact_accuracy, reference[1].intact_accuracy)
    assert simulated.concept.values.tolist() == reference[2].concept.values.tolist()
    for name in ("intact", "removed", "replaced", "simulated_r"):
        np.testing.assert_allclose(simulated[name], reference[2][name], rtol=1e-3, atol=1e-4, err_msg=name)
    labels = folder_classes(these.data, CLASSES)
    again = unit_removal(
        these, layer="inner", labels=labels, scores="scores", k=2, controls=2, out=tmp_path / "out", progress=False
    )
    assert again.table.attrs["date"] == removed.attrs["date"]


def test_insertion_of_every_kind(model):
    before, after = insert(model, "inner", pictures(), [1, 3], to=2.0)
    forced = without(1, 3)

    def change(maps):
        return np.where(np.isin(np.arange(UNITS), (1, 3)), np.float32(2), forced(maps))

    np.testing.assert_allclose(before, expected(pictures(), None, None)["prob"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(after, expected(pictures(), "inner", change)["prob"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("at", ["inner", "sum"])
def test_a_linear_probe_on_every_kind(model, at):
    "A probe behind the layer that is edited, and one on the layer itself."
    kernel = np.random.default_rng(1).normal(size=(UNITS, 4)).astype(np.float32)
    probed = with_probe(model, at, kernel, np.zeros(4, np.float32), list("abcd"), several=False)
    assert layers(probed)["prob"] == (1, 1, 4)
    images = pictures()
    for change in (without(0), lambda maps: maps):
        maps = expected(images, "inner", change)[at]
        wanted = jax.nn.softmax(maps.mean((1, 2), keepdims=True) @ kernel)
        found = edit(probed, "inner", change, ["prob"])(images)["prob"]
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_units_are_taken_out_in_the_explorer(kind, tmp_path):
    "On the bench: before, and without the unit; with `prob`, and with scores that have the classes' names."
    these = studied(kind, tmp_path)
    look = Explorer(these.dissection, these.data, these.model, unit="inner:2", number=4)
    look.image = 3
    bench, image = look.bench, these.data.example(3, SIZE, these.view.side, these.view.keep).image[None]
    assert bench.head.value and bench.after.prob is not None
    np.testing.assert_allclose(bench.after.prob, expected(image, None, None)["prob"][0, 0, 0], rtol=1e-4, atol=1e-5)
    bench.remove = "this unit"
    wanted = expected(image, "inner", without(2))["prob"][0, 0, 0]
    np.testing.assert_allclose(bench.after.prob, wanted, rtol=1e-4, atol=1e-5)
    rows = {row["name"]: row["after"] for row in bench.page.answer["rows"]}
    best = int(np.argmax(wanted))
    assert rows["peak of the unit"] == "0" and rows[f"says {CLASSES[best]}"] == f"{wanted[best]:.1%}"
    assert not bench.page.answer["notes"]


def test_scores_with_names_serve_the_explorer(tmp_path):
    "As PyTorch's classifiers have them: no softmax at the end, and the classes' names given."
    whole = made("function", None)
    scores = replace(whole, forward=lambda p, x: {k: v for k, v in by_hand(p, x).items() if k != "prob"})
    ask, why = answer_function(scores, "inner")
    image = pictures(1)[0]
    wanted = expected(image[None], "inner", without(4))["prob"][0, 0, 0]
    np.testing.assert_allclose(ask(image, [4]).prob, wanted, rtol=1e-4, atol=1e-5)
    assert not why and ask(image, [4]).prob.sum() == pytest.approx(1)
    assert "has no classifier behind" in answer_function(replace(scores, classes=()), "inner")[1]


@pytest.mark.parametrize("kind", KINDS[1:])
def test_banks_of_every_kind(kind, tmp_path):
    "A bank, and a network made of it, answer as those of the function do; and values can be put into it."
    evidence, found = {}, {}
    for one in ("function", kind):
        these = studied(one, tmp_path)
        bank = detector_bank(these, number=4)
        labels = {key: CLASSES[i % 3] for i, key in enumerate(Squares().keys)}
        network = transfer(bank, these.data, labels, steps=3, progress=False).network
        evidence[one], found[one] = bank(pictures()), network(pictures())
        level = f"bank/{these.model.name}.inner"
        for layer, to in ((level, "evidence"), ("evidence", "scores"), ("scores", "prob")):
            plain = probe(network.model, [layer, to])(pictures())
            same = edit(network.model, layer, lambda maps: maps, [to])(pictures())[to]
            np.testing.assert_allclose(same, plain[to], rtol=1e-4, atol=1e-5)
            gone = edit(network.model, layer, lambda maps: np.asarray(maps) * 0 + np.float32(7), [to])(pictures())[to]
            assert np.abs(gone - np.asarray(plain[to])).max() > 1e-3
        again = transfer(bank, these.data, labels, steps=3, progress=False).network
        assert again.model.record["weights_sha256"] == network.model.record["weights_sha256"]
    for one in (evidence, found):
        np.testing.assert_allclose(one[kind], one["function"], rtol=2e-2, atol=1e-3)


# ---- networks that are written otherwise


def test_layers_that_are_only_looked_at():
    "The network goes on with vectors of 16 bits; what it returns is a view of them, made by a function under jit."
    as_maps = jax.jit(lambda x: x.astype(jnp.float32)[:, None, None])

    @jax.jit
    def forward(parameters, x):
        vector = jax.nn.relu(x.mean((1, 2))).astype(jnp.bfloat16)
        turned = jnp.swapaxes(x, 1, 2)
        scores = vector @ jnp.ones((3, 2), jnp.bfloat16) + turned.mean((1, 2))[:, :2].astype(jnp.bfloat16)
        return {"turned": jnp.swapaxes(turned, 1, 2), "vector": as_maps(vector), "scores": as_maps(scores)}

    model = Model("views", forward, size=SIZE)
    images = pictures()
    x = jnp.asarray(images, jnp.float32) / 255
    found = edit(model, "vector", lambda maps: maps * 0 + 2, ["scores"])(images)["scores"]
    wanted = jnp.bfloat16(6) + x.mean((1, 2))[:, :2].astype(jnp.bfloat16)
    np.testing.assert_allclose(found[:, 0, 0], wanted.astype(jnp.float32), rtol=2e-2)
    found = edit(model, "turned", lambda maps: maps * 0, ["scores"])(images)["scores"]
    np.testing.assert_allclose(found[:, 0, 0, 0], np.asarray(x.mean((1, 2)).sum(-1)), rtol=3e-2)


def with_rule(run):
    "A function with a rule of its own for its derivative."
    made = jax.custom_jvp(run)
    made.defjvp(lambda given, along: jax.jvp(run, given, along))
    return made


@pytest.mark.parametrize("wrap", [jax.jit, jax.checkpoint, with_rule], ids=["jit", "remat", "custom_jvp"])
def test_layers_inside_a_call(wrap):
    "The layer and what follows from it are made in one call, twice one after the other."
    both = wrap(lambda x: (jnp.tanh(x), jnp.tanh(x).sum(-1, keepdims=True) * x))

    def forward(parameters, x):
        first, after = both(x)
        second, last = both(after)
        return {"first": first, "after": after, "second": second, "last": last}

    def slowly(x, layer):
        first = jnp.tanh(x)
        first = first * 0.5 if layer == "first" else first
        after = (first if layer == "first" else jnp.tanh(x)).sum(-1, keepdims=True) * x
        second = jnp.tanh(after)
        second = second * 0.5 if layer == "second" else second
        return second.sum(-1, keepdims=True) * after

    # each call computes tanh twice, so the layer is not what it goes on with
    model = Model("calls", forward, size=SIZE)
    with pytest.raises(InputError) as refused:
        edit(model, "second", lambda maps: maps * 0.5, ["last"])
    assert_says(refused.value, "calls", "'second'")

    def going_on(x):
        inner = jnp.tanh(x)
        return inner, inner.sum(-1, keepdims=True) * x

    both = wrap(going_on)
    images = pictures()
    x = jnp.asarray(images, jnp.float32) / 255
    for layer in ("first", "second"):
        found = edit(Model("calls", forward, size=SIZE), layer, lambda maps: maps * 0.5, ["last"])(images)["last"]
        np.testing.assert_allclose(found, slowly(x, layer), rtol=1e-5, atol=1e-6)


def test_layers_of_a_loop_over_images():
    "`jax.lax.map` gives all layers at once; a loop that carries a layer along cannot be cut, and says so."

    def forward(parameters, x):
        return jax.lax.map(lambda one: {name: maps[0] for name, maps in by_hand(parameters, one[None]).items()}, x)

    model = replace(made("function", None), forward=forward)
    for layer in LAYERS:
        found = edit(model, layer, without(1), ["prob"])(pictures())["prob"]
        np.testing.assert_allclose(found, expected(pictures(), layer, without(1))["prob"], rtol=1e-4, atol=1e-5)

    def halved(parameters, x):
        def turn(one):
            low, high = jnp.split(one, [1], 0)  # two results of one operation, of which one is the layer
            return {"image": one, "low": low, "scores": (low * 2 + high.sum()).mean((0, 1), keepdims=True)}

        return jax.lax.map(turn, x)

    model, images = Model("halved", halved, size=SIZE), pictures()
    x = jnp.asarray(images, jnp.float32) / 255
    for layer, wanted in (("low", x[:, 1:].sum((1, 2, 3))), ("image", 0 * x.sum((1, 2, 3)))):
        found = edit(model, layer, lambda maps: maps * 0, ["scores"])(images)["scores"]
        np.testing.assert_allclose(found[:, 0, 0, 1], wanted, rtol=1e-5)

    def carried(parameters, x):
        def turn(carry, _):
            return (jnp.tanh(carry[0]), carry[0].sum((1, 2), keepdims=True)), None

        (first, last), _ = jax.lax.scan(turn, (x, x.sum((1, 2), keepdims=True)), None, 3)
        return {"first": first, "last": last}

    with pytest.raises(InputError) as refused:
        edit(Model("loop", carried, size=SIZE), "first", lambda maps: maps)
    assert_says(refused.value, "loop", "'first'", "(scan)", "layer by layer", most=200)


def test_a_way_around_that_cannot_be_batched():
    "A callback without a rule for batches runs image after image."

    def forward(parameters, x):
        low = jnp.tanh(x)
        beside = jax.pure_callback(lambda v: np.asarray(v) * 2, jax.ShapeDtypeStruct(x.shape, x.dtype), low)
        inner = low + 1
        return {"inner": inner, "sum": inner + beside}

    images = pictures()
    x = jnp.tanh(jnp.asarray(images, jnp.float32) / 255)
    found = edit(Model("callback", forward, size=SIZE), "inner", lambda maps: maps * 0, ["sum"])(images)["sum"]
    np.testing.assert_allclose(found, 2 * x, rtol=1e-5)


def torch_of(forward, **parts):
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

    Net.forward = forward
    return Net()


def test_a_torch_module_that_is_called_twice():
    "Its last call is the layer, and stands where that runs."
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")
    net = torch_of(
        lambda self, x: self.times(self.relu(self.times(self.relu(x - 0.5)) - 0.25)),
        relu=torch.nn.ReLU(),
        times=torch.nn.Conv2d(3, 3, 1, bias=False),
    )
    net.times.weight.data = 2 * torch.eye(3)[..., None, None]
    model, images = from_torch("twice", net, SIZE, "unit-range"), pictures()
    assert list(layers(model)) == ["relu", "times", "output"]
    x = images.astype(np.float32) / 255
    wanted = np.maximum(2 * np.maximum(x - 0.5, 0) - 0.25, 0)
    np.testing.assert_allclose(edit(model, "relu", lambda maps: maps + 1, ["output"])(images)["output"], 2 * wanted + 2)


def test_a_torch_relu_whose_result_is_not_taken():
    "It works in place on what it is given; so do the values that it is to give."
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")

    def forward(self, x):
        y = self.conv(x)
        self.relu(y)
        return y.sum((2, 3))

    net = torch_of(forward, conv=torch.nn.Conv2d(3, 3, 1), relu=torch.nn.ReLU(inplace=True))
    model, images = from_torch("in place", net, SIZE, "unit-range"), pictures()
    found = edit(model, "relu", lambda maps: np.full(maps.shape, 3, np.float32), ["output"])(images)["output"]
    np.testing.assert_array_equal(found, np.full((5, 1, 1, 3), 3 * SIZE**2))


@pytest.mark.parametrize("kind", ["bfloat16", "float64"])
def test_a_torch_module_in_other_numbers(kind):
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")
    model = from_torch("small", torch_module(numbers()).to(getattr(torch, kind)), SIZE, "unit-range")
    found = edit(model, "inner", without(1), ["scores"])(pictures())["scores"]
    near = dict(rtol=0.1, atol=0.1) if kind == "bfloat16" else dict(rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found, expected(pictures(), "inner", without(1))["scores"], **near)


def test_a_torch_module_for_one_image_at_a_time():
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")

    def forward(self, x):
        return self.last(self.conv(x.reshape(1, 3, SIZE, SIZE)).flatten(1)[:, :12])

    torch.manual_seed(0)
    net = torch_of(forward, conv=torch.nn.Conv2d(3, 4, 3), last=torch.nn.Linear(12, 2, bias=False))
    model, images = from_torch("one", net, SIZE, "unit-range"), pictures()
    found = edit(model, "conv", lambda maps: maps * np.float32(3), ["last"])(images)["last"]
    np.testing.assert_allclose(found, 3 * np.asarray(probe(model, ["last"])(images)["last"]), rtol=1e-5)


def test_torch_modules_that_show_nothing_or_change():
    torch = pytest.importorskip("torch", reason="torch is not installed; make test-torch installs it")
    scripted = from_torch("scripted", torch.jit.script(torch_module(numbers())), SIZE, "unit-range")
    with pytest.raises(InputError) as refused:
        edit(scripted, "inner", lambda maps: maps)
    assert_says(refused.value, "scripted", "'inner'", "TorchScript", most=200)
    with pytest.raises(InputError) as refused:
        edit(scripted, "output", lambda maps: maps)
    assert_says(refused.value, "no layer comes after 'output'")

    def forward(self, x):
        y = self.conv(x)
        return self.conv(y) if float(x.mean()) > 0.9 else y

    changing = from_torch("changing", torch_of(forward, conv=torch.nn.Conv2d(3, 3, 1)), SIZE, "unit-range")
    with pytest.raises(InputError) as refused:
        edit(changing, "conv", lambda maps: maps)(np.full((1, SIZE, SIZE, 3), 255, np.uint8))
    assert_says(refused.value, "'conv'", "2 times", "1 times", most=300)


@pytest.mark.parametrize(("batch", "kind"), [(2, np.float32), (1, np.float32), ("batch", np.float16)])
def test_onnx_files_of_fixed_batches_and_other_numbers(batch, kind, tmp_path):
    path = onnx_file(tmp_path / "small.onnx", numbers(), batch, kind)
    model = from_onnx(path, preprocess="unit-range")
    near = dict(rtol=2e-2, atol=2e-2) if kind == np.float16 else dict(rtol=1e-4, atol=1e-5)
    for layer in ("inner", "mean"):
        found = edit(model, layer, without(1), ["scores"])(pictures())["scores"]
        np.testing.assert_allclose(found, expected(pictures(), layer, without(1))["scores"], **near)


def test_an_onnx_graph_inside_a_node_takes_the_values(tmp_path):
    "Both ways of an If read the layer from outside it."
    import onnx
    from onnx import TensorProto, helper

    def way(kind, name):
        return helper.make_graph(
            [helper.make_node(kind, ["low", "low"], [name])], name, [], [helper.make_tensor_value_info(name, 1, None)]
        )

    nodes = [
        helper.make_node("Relu", ["image"], ["low"]),
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "half"], ["bright"]),
        helper.make_node("If", ["bright"], ["way"], then_branch=way("Add", "a"), else_branch=way("Mul", "b")),
        helper.make_node("GlobalAveragePool", ["way"], ["mean"]),
    ]
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])
    out = helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["batch", 3, 1, 1])
    half = helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])
    graph = helper.make_graph(nodes, "ways", [given], [out], [half])
    path = tmp_path / "ways.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    model = from_onnx(path, preprocess="unit-range")
    for bright, wanted in ((255, 6), (50, 9)):
        images = np.full((2, SIZE, SIZE, 3), bright, np.uint8)
        found = edit(model, "low", lambda maps: np.full(maps.shape, 3, np.float32), ["mean"])(images)["mean"]
        np.testing.assert_array_equal(found, np.full((2, 1, 1, 3), wanted))


# ---- identity, and what is refused


def test_another_network_s_removal_is_not_taken(tmp_path):
    "How a network goes on is told by its operations; a network outside JAX by its `edit`, where that is its own."
    one = made("function", None)
    other = replace(one, forward=lambda p, x: by_hand(p, x) | {"prob": jax.nn.softmax(2 * by_hand(p, x)["scores"])})
    told = [goes_on(model, "inner") for model in (one, replace(one), other)]
    assert told[0] == told[1] and len(told[0]) == 64
    file = made("onnx", tmp_path)
    assert goes_on(file, "inner") == "" == goes_on(made("onnx", tmp_path), "inner")

    def own(by):
        def run(parameters, images, names, layer=None, values=None):
            return {"low": values if layer else images, "last": by * (values if layer else images)}

        return Model("own", run, size=SIZE, edit=run, traced=False)

    assert goes_on(own(2.0), "low") == goes_on(own(2.0), "low") != goes_on(own(3.0), "low")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda maps: maps[:, :4], ["the shape (5, 4, 16, 6)", "values of (5, 16, 16, 6)"]),
        (lambda maps: maps[:2], ["the shape (2, 16, 16, 6)"]),
        (lambda maps: np.asarray(maps, np.float64), ["float64", "Let it return float32"]),
        (lambda maps: np.asarray(maps) > 0, ["bool", "Let it return float32"]),
        (lambda maps: maps + np.float32(np.nan), ["nan for unit 0 of image 0", "finite"]),
        (lambda maps: np.where(np.arange(UNITS) == 3, np.float32(np.inf), np.asarray(maps)), ["inf for unit 3"]),
        (lambda maps: None, ["NoneType", "Let it return an array"]),
    ],
)
def test_what_is_not_a_layer_s_values(model, change, words):
    with pytest.raises(InputError) as refused:
        edit(model, "inner", change, ["prob"])(pictures())
    assert_says(refused.value, "small", "layer 'inner'", *words, most=200)


def test_layers_that_cannot_be_edited(model):
    last = list(layers(model))[-1]
    for layer, names, words in [
        ("iner", None, ["no layer 'iner'", "Did you mean 'inner'"]),
        (last, None, [f"no layer comes after {last!r}"]),
        ("inner", ["low"], ["'low' does not come after 'inner'"]),
        ("inner", ["prop"], ["no layer 'prop'", "Did you mean 'prob'?"]),
    ]:
        with pytest.raises(InputError) as refused:
            edit(model, layer, lambda maps: maps, names)
        assert_says(refused.value, "small", *words, most=300)


def test_a_network_of_one_s_own_outside_jax():
    "Without an `edit` it says so; one that fails, or does not give what it was asked for, is named."

    def forward(parameters, images, names):
        return {"low": np.asarray(images), "last": np.asarray(images).mean((1, 2), keepdims=True)}

    bare = Model("bare", forward, size=SIZE, traced=False)
    broken = replace(bare, edit=lambda parameters, images, names, layer, values: values["x"])
    short = replace(bare, edit=lambda parameters, images, names, layer, values: {"first": values})
    for model, words in [
        (bare, ["runs outside JAX", "`edit`"]),
        (broken, ["does not run on 5 images", "mend it there"]),
        (short, ["does not give layer 'last'"]),
    ]:
        with pytest.raises(InputError) as refused:
            edit(model, "low", lambda maps: maps)(pictures())
        assert_says(refused.value, model.name, *words, most=300)


def test_a_layer_that_nothing_follows_from():
    "What forward returns is a copy, and the network goes on with something else."
    model = Model("copy", lambda _, x: {"copy": x * 1, "last": x.sum((1, 2), keepdims=True)}, size=SIZE)
    with pytest.raises(InputError) as refused:
        halves(model, "copy", ["last"])
    assert_says(refused.value, "'copy'", "Return the array that the network goes on with", most=200)
