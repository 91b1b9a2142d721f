"""What a network keeps as it is run is no other network; and how it goes on from a layer is part of what was removed."""

import warnings

import jax
import numpy as np
import pytest
from sentences import assert_says

from inner_detectors.analyses.unit_removal import unit_removal
from inner_detectors.core.errors import InputError
from inner_detectors.dissection.protocol import netdissect
from dataclasses import replace
from inner_detectors.dissection.identity import weights_of
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import study
from inner_detectors.networks.code import UnknownCodeError
from inner_detectors.networks.spelling import hash_running
from inner_detectors.networks.adapters.nnx import from_nnx
from inner_detectors.networks.adapters.torch import from_torch
from inner_detectors.networks.model import Model, layers
from inner_detectors.data.readers.registry import load_data

TENTH = replace(netdissect, quantile=0.1)
HELD: dict = {}


def mark(model):
    return weights_of(model)["computation_sha256"]


def shown(model, images):
    model.forward(
        model.parameters,
        np.asarray(model.preprocess(np.full((images, model.size, model.size, 3), 7 * images, np.uint8))),
        None,
    )
    return model


def keeping(by):
    kept, times = [], [0]

    def forward(_, images, names):
        kept.append(images)
        times[0] += 1
        return {"layer": images[:, ::2, ::2] * by}

    return Model("keeping", forward, size=16, traced=False)


def test_a_function_that_keeps_what_it_saw_stays_itself():
    first = mark(keeping(2.0))
    assert mark(shown(keeping(2.0), 3)) == first != mark(keeping(3.0))


def test_what_changes_by_itself_is_another_each_time():
    class Turning:
        def __init__(self):
            self.turn = 0

        def __call__(self):
            return self.turn

    turning, more = Turning(), {}

    def run(pictures):
        turning.turn += 1
        more[f"key{turning.turn}"] = turning.turn

    assert hash_running(run, turning, more) == hash_running(run, turning, more)
    endless = (number for number in range(9))
    with pytest.raises(UnknownCodeError):
        hash_running(run, endless)


@pytest.mark.parametrize("kind", ["attribute", "list", "hook", "hooks", "global"])
def test_activations_that_a_torch_network_keeps_move_nothing(kind):
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Keeping(nn.Module):
        def __init__(self, by):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.by, self.calls, self.seen = nn.Conv2d(3, 4, 3, 2), by, 0, []

        def forward(self, x):
            found = self.conv(x) * self.by
            if kind == "attribute":
                self.features, self.calls, self.batch = found, self.calls + 1, len(x)
            if kind == "list":
                self.seen.append(found)
            return found

    def made(by):
        network, kept = Keeping(by), {}
        if kind == "hook":
            network.conv.register_forward_hook(lambda part, given, out: kept.update(conv=out.detach()))
        if kind == "hooks":
            for name, part in network.named_modules():
                part.register_forward_hook(lambda part, given, out, name=name: kept.setdefault(name, []).append(out))
        if kind == "global":
            network.conv.register_forward_hook(hold)
        return from_torch("keeping", network, 16)

    first = mark(made(1.0))
    again = shown(made(1.0), 3)
    assert mark(again) == first == mark(shown(again, 2)) != mark(made(2.0))


def hold(part, given, out):
    HELD["conv"] = out


def test_a_network_with_hooks_is_found_again(tmp_path):
    torch = pytest.importorskip("torch")
    data, kept = load_data("scenes:8", progress=False), {}
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2), torch.nn.ReLU())
    network[0].register_forward_hook(lambda part, given, out: kept.update(conv=out))
    model = from_torch("hooked", network, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = dissect(model, data, ["0"], TENTH, tmp_path, progress=False)
        assert (
            dissect(model, data, ["0"], TENTH, tmp_path, progress=False).table.attrs["date"]
            == found.table.attrs["date"]
        )
        assert study(found, model, data).dissection is found
        with torch.no_grad():
            network[0].weight *= 1.5
        with pytest.raises(InputError, match="another run"):
            dissect(model, data, ["0"], TENTH, tmp_path, progress=False)


def test_a_torch_network_that_does_not_give_its_extra_state():
    torch = pytest.importorskip("torch")

    class Odd(torch.nn.Module):
        def __init__(self, by=1.0):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.by = torch.nn.Conv2d(3, 4, 3, 2), by

        def forward(self, x):
            return self.conv(x) * self.by

        def get_extra_state(self):
            raise RuntimeError("no extra state here")

    assert "conv" in layers(from_torch("odd", Odd(), 16))
    assert (
        mark(from_torch("odd", Odd(), 16))
        == mark(from_torch("odd", Odd(), 16))
        != mark(from_torch("odd", Odd(2.0), 16))
    )


@pytest.mark.parametrize("exported", [False, True])
def test_a_traced_or_exported_torch_network_is_known_again(exported):
    torch = pytest.importorskip("torch")

    def made(by):
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                torch.manual_seed(0)
                self.conv = torch.nn.Conv2d(3, 4, 3, 2)

            def forward(self, x):
                return torch.relu(self.conv(x)) * by

        if not exported:
            return from_torch("net", torch.fx.symbolic_trace(Net()), 16)
        batch = ({0: torch.export.Dim("batch")},)
        return from_torch(
            "net", torch.export.export(Net(), (torch.zeros(2, 3, 16, 16),), dynamic_shapes=batch).module(), 16
        )

    about = weights_of(made(1.5))
    assert "computation_unknown" not in about
    assert about == weights_of(made(1.5))
    assert mark(made(2.5)) != about["computation_sha256"]


def test_how_a_network_goes_on_is_part_of_an_ablation(tmp_path):
    "Of a network outside JAX, which says itself how it runs with other values in a layer."
    data = load_data("scenes:24", progress=False)

    def made(by):
        def read(x):
            scores = np.einsum("bhwu,uc->bc", x, np.float32([[1, -1], [0, 1], [-1, 0]]))[:, None, None] * np.float32(by)
            return {"scores": scores, "prob": np.asarray(jax.nn.softmax(scores))}

        def forward(_, images, names):
            return {"layer": images[:, ::8, ::8]} | read(images[:, ::8, ::8] / by)

        def edit(_, images, names, layer, values):
            return read(values)

        return Model("steps", forward, size=32, edit=edit, classes=("x", "y"), traced=False)

    def other(by):  # the same network, which goes on otherwise
        return replace(made(1.0), edit=made(by).edit)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = dissect(made(1.0), data, ["layer"], TENTH, tmp_path, progress=False)
        labels = {name: "xy"[place % 2] for place, name in enumerate(found.table.image.values)}

        def run(model):
            return unit_removal(
                study(found, model, data),
                layer="layer",
                labels=labels,
                units=["layer:0"],
                concepts=[],
                out=tmp_path,
                progress=False,
                k=1,
                controls=1,
                least=1,
            ).table

        first = run(made(1.0))
        assert run(made(1.0)).attrs["date"] == first.attrs["date"]
        with pytest.raises(InputError, match="resume"):
            run(other(3.0))


@pytest.mark.parametrize(
    "forward, traced, words",
    [
        (lambda _, images: images, True, ("forward gives", "names of layers")),
        (lambda _, images: {"a": [1.0]}, True, ("a list for layer 'a'", "array")),
        (lambda _, images: {"a": np.tanh(images)}, True, ("cannot trace", "jax.numpy")),
        (lambda _, images: {"a": images}, False, ("names=None", "positional")),
        (lambda _, images, names: images, False, ("forward gives a ndarray", "dict")),
        (lambda _, images, names: {name: images for name in names}, False, ("names=None", "all layers")),
    ],
)
def test_a_function_that_is_no_network_is_told_so(forward, traced, words):
    with pytest.raises(InputError) as said:
        layers(Model("mine", forward, size=16, traced=traced))
    assert_says(said.value, "mine", *words)


def test_a_flax_module_that_wants_more_is_told_what_helps():
    from flax import nnx

    class Wants(nnx.Module):
        def __call__(self, x, mode):
            return x

    with pytest.raises(InputError, match="Wrap it"):
        from_nnx("wants", Wants(), 16)
