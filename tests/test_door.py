"""Python's door: what a newcomer types ends in the right thing, or in one sentence with the call that works; help() says
what there is to know; a result opens again what it was made of."""

import copy
import doctest
import inspect
import pickle
import re
import shutil
import warnings
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
import small_network
from flax import linen, nnx
from sentences import assert_says

import inner_detectors
from inner_detectors import (
    Data,
    Dissection,
    Explorer,
    InputError,
    Model,
    Protocol,
    chance,
    dissect,
    from_function,
    from_linen,
    from_nnx,
    from_onnx,
    from_torch,
    load_data,
    load_model,
)
from inner_detectors.cli.main import run
from inner_detectors.cli.options import Opening, reopen_study
from inner_detectors.dissection.protocol import protocols
from inner_detectors.networks import registry
from inner_detectors.synthetic.planted import planted_model
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.synthetic.writers import write_folder

DATA, NET = "scenes:8", planted_model()
FACE = {name: getattr(inner_detectors, name) for name in inner_detectors.__all__}
QUIET = pytest.mark.filterwarnings("ignore")


class Small(nnx.Module):
    "A network of one's own, for images of 32 pixels."

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.last = nnx.Linear(32 * 32 * 4, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.conv(x).reshape(len(x), -1))


def redness(images):
    return {"red": images[:, ::4, ::4, :1]}


@pytest.fixture(scope="module")
def found():
    return dissect(NET, DATA, progress=False)


@pytest.fixture(scope="module")
def there(found, tmp_path_factory):
    "What the guesses below are made with."
    place = tmp_path_factory.mktemp("door")
    (place / "voc" / "JPEGImages").mkdir(parents=True)
    (place / "coco" / "annotations").mkdir(parents=True)
    (place / "net.pth").write_bytes(b"weights")
    found.save(place / "found")
    return SimpleNamespace(found=found, place=place, saved=str(place / "found"))


@pytest.fixture
def small():
    small_network.register()
    yield small_network.NAME
    registry.MODELS.pop(small_network.NAME, None)


# What is typed by those who know Captum, NetDissect, torchvision, fastai, scikit-learn or pandas, or nothing yet, and is
# not what works: the sentence that says what does.
REFUSED = {
    "captum: a layer of a module": (lambda t: dissect(NET, DATA, layers=[nnx.relu]), "Say layers='conv5_3'"),
    "captum: attribute": (lambda t: inner_detectors.LayerActivation, "There are: dissect"),
    "captum: found.attribute()": (lambda t: t.found.attribute(0), "Dissection has no attribute 'attribute'"),
    "netdissect: the class": (lambda t: inner_detectors.NetDissect(), "Say dissect(MODEL, DATA)"),
    "netdissect: Dissector": (lambda t: inner_detectors.Dissector, "Say dissect(MODEL, DATA)"),
    "netdissect: module": (lambda t: inner_detectors.netdissect, "Say dissect(MODEL, DATA)"),
    "netdissect: run": (lambda t: inner_detectors.run(), "Say dissect(MODEL, DATA)"),
    "torchvision: models": (lambda t: inner_detectors.models.vgg16(), "Say load_model('vgg16')"),
    "torchvision: vgg16()": (lambda t: inner_detectors.vgg16(), "Say load_model('vgg16')"),
    "torchvision: ImageFolder": (lambda t: inner_detectors.ImageFolder("x"), "Say load_data('folder:FOLDER')"),
    "torchvision: another network": (lambda t: dissect("resnet50", DATA), "no model 'resnet50'"),
    "fastai: learner": (lambda t: inner_detectors.vision_learner, "Say load_model('vgg16')"),
    "sklearn: fit": (lambda t: inner_detectors.fit(NET, DATA), "Say dissect(MODEL, DATA)"),
    "sklearn: found.fit": (lambda t: t.found.predict(1), "Dissection has no attribute 'predict'"),
    "hf: from_pretrained": (lambda t: inner_detectors.from_pretrained, "Say load_model(NAME) or load_data(PLACE)"),
    "misspelled": (lambda t: inner_detectors.disect, "Did you mean dissect or Dissection?"),
    "load": (lambda t: inner_detectors.load("x"), "Dissection.load(FOLDER) reads a result"),
    "british and american": (lambda t: inner_detectors.analyze, "Say found.analyse('chance', 'correlation')"),
    "pandas: head": (lambda t: t.found.head(), "Dissection has no attribute 'head'"),
    "pandas: a column": (lambda t: t.found.concept, "Did you mean 'concepts'"),
    "a number beyond the layer": (lambda t: t.found[99], "has units planted:0 to planted:7"),
    "pandas: a slice": (lambda t: t.found[:3], "A unit is called LAYER:INDEX"),
    "an analysis as a method": (lambda t: t.found.chance(), "Say found.analyse('chance')"),
    "its underscores": (lambda t: t.found.top_images(), "Say found.analyse('top-images')"),
    "a figure as a method": (lambda t: t.found.sizes(), "Say found.plot('sizes')"),
    "the network of a result": (lambda t: t.found.model, "Say found.study().model"),
    "no data": (lambda t: dissect(NET), "no data: name at least one source"),
    "data None": (lambda t: load_data(None), "no data: name at least one source"),
    "data of no kind": (lambda t: dissect(NET, "nowhere"), "say KIND:WHERE"),
    "a folder without its kind": (lambda t: dissect(NET, str(t.place / "voc")), "that is probably 'voc:"),
    "a Path without its kind": (lambda t: load_data(t.place / "coco"), "that is probably 'coco:"),
    "a kind misspelled": (lambda t: load_data("cocoa:x"), "Did you mean 'coco'?"),
    "an array": (lambda t: dissect(NET, np.zeros((2, 8, 8, 3))), "is no set of images with masks"),
    "an array of JAX": (lambda t: load_data(jnp.zeros((2, 8, 8, 3))), "is no set of images with masks"),
    "a dict of images": (lambda t: dissect(NET, {"images": []}), "a dict is no set of images with masks"),
    "a class of a source": (lambda t: load_data(Scenes), "Scenes is a class"),
    "an empty list": (lambda t: dissect(NET, []), "no data: name at least one source"),
    "a limit in words": (lambda t: dissect(NET, DATA, limit="4"), "limit='4': is no whole number"),
    "no such concept": (lambda t: dissect(NET, DATA, concepts=["dgo"]), "Did you mean 'dog'"),
    "the wrong way round": (lambda t: dissect(DATA, "vgg16"), "Say dissect(MODEL, 'scenes:8')"),
    "the wrong way round, opened": (lambda t: dissect(load_data(DATA), NET), "data stands where the network is"),
    "two networks": (lambda t: dissect(NET, NET), "a network stands where data is expected"),
    "a result again": (lambda t: dissect(t.found, DATA), "is a result, not a network"),
    "a file of weights": (lambda t: dissect(str(t.place / "net.pth"), DATA), "Say load_model('vgg16', "),
    "a folder of a result": (lambda t: load_model(t.saved), "Say Dissection.load("),
    "a folder as network": (lambda t: load_model(t.place), "is no network. Give a name such as 'vgg16'"),
    "a class": (lambda t: dissect(Small, DATA), "Small: is a class, not a network"),
    "no network": (lambda t: dissect(None, DATA), "a NoneType is no network"),
    "a list of networks": (lambda t: dissect(["vgg16"], DATA), "a list is no network"),
    "parameters alone": (lambda t: dissect({"conv": 1}, DATA), "from_linen('NAME', module, variables)"),
    "an array as network": (lambda t: load_model(np.zeros(3)), "a ndarray is no network"),
    "linen without variables": (lambda t: dissect(linen.Conv(2, (3, 3)), DATA), "from_linen(name, module, variables)"),
    "the wrong size": (lambda t: dissect(Small(nnx.Rngs(0)), DATA), "Give another size or preprocess, for instance"),
    "weights of a module": (lambda t: load_model(Small(nnx.Rngs(0)), "w.npz"), "go with a network by name"),
    "size of an open one": (lambda t: dissect(NET, DATA, size=32), "is open already"),
    "no such option": (lambda t: load_model("vgg16", sise=32), "Did you mean 'size'?"),
    "torch that is not here": (lambda t: from_torch("net", object()), "needs PyTorch"),
    "from_nnx of a class": (lambda t: from_nnx("net", Small), "Small: is a class, not a network"),
    "from_nnx of parameters": (lambda t: from_nnx("net", {"w": 1}), "a dict is no network"),
    "from_nnx of nothing": (lambda t: from_nnx("net"), "no network is given"),
    "from_nnx of an object": (lambda t: from_nnx(object()), "is no module of Flax that can be called"),
    "a size in words": (lambda t: from_nnx("net", Small(nnx.Rngs(0)), "32"), "is no whole number of pixels"),
    "preprocessing misspelled": (lambda t: from_nnx(Small(nnx.Rngs(0)), preprocess="mean_std"), "'mean-std'"),
    "preprocessing of no kind": (lambda t: from_nnx(Small(nnx.Rngs(0)), None, 32, 3), "makes no images ready"),
    "a function of two": (lambda t: dissect(lambda a, b: {}, DATA), "from_function(function, parameters=PARAMETERS)"),
    "a function that gives an array": (lambda t: dissect(lambda images: images, DATA), "(a dict)"),
    "no function": (lambda t: from_function("redness"), "'redness' is no function"),
    "an ONNX file that is not there": (lambda t: from_onnx("net.onnx"), "net.onnx"),
    "a layer misspelled": (lambda t: dissect(NET, DATA, "plantd"), "Did you mean 'planted'?"),
    "a layer by number": (lambda t: dissect(NET, DATA, 3), "Say layers='conv5_3'"),
    "layers in lists": (lambda t: dissect(NET, DATA, [["planted"]]), "Say layers='conv5_3'"),
    "a protocol misspelled": (lambda t: dissect(NET, DATA, protocol="pans"), "Did you mean 'pnas'?"),
    "a protocol in a dict": (lambda t: dissect(NET, DATA, protocol={"quantile": 1}), "Protocol(quantile=0.01)"),
    "a protocol's class": (lambda t: dissect(NET, DATA, protocol=Protocol.__class__), "Protocol(quantile=0.01)"),
    "no protocol": (lambda t: dissect(NET, DATA, protocol=None), "Give a name ('netdissect', 'pnas'"),
    "a choice misspelled": (lambda t: dissect(NET, DATA, quantiles=0.01), "Did you mean 'quantile'"),
    "layer for layers": (lambda t: dissect(NET, DATA, layer="planted"), "Did you mean 'layers'"),
    "a quantile in words": (lambda t: dissect(NET, DATA, quantile="0.01"), "quantile='0.01' is no number"),
    "a quantile in percent": (lambda t: Protocol(quantile=5), "is not between 0 and 1"),
    "half a label": (lambda t: Protocol(labels=0.5), "labels=0.5 is no whole number"),
    "no images at once": (lambda t: dissect(NET, DATA, batch=0), "batch=0"),
    "a batch in words": (lambda t: dissect(NET, DATA, batch="8"), "batch=8"),
    "a device in words": (lambda t: dissect(NET, DATA, devices="gpu"), "Say devices=jax.devices('cpu')"),
    "out is no folder": (lambda t: dissect(NET, DATA, out=True), "out=True: is no folder"),
    "thresholds of nowhere": (lambda t: dissect(NET, DATA, thresholds="nowhere"), "no such file"),
    "a unit out of range": (lambda t: t.found["planted:99"], "has units planted:0 to planted:7"),
    "a unit out of range, in two": (lambda t: t.found["planted", 99], "has units planted:0 to planted:7"),
    "a unit of no layer": (lambda t: t.found["conv5_3:1"], "There are: 'planted:1'"),
    "a layer as a unit": (lambda t: t.found["planted"], "has units planted:0 to planted:7"),
    "a concept as a unit": (lambda t: t.found["dog"], "'dog': is a concept, not a unit. Say found.detectors()"),
    "verdicts of nothing written": (lambda t: t.found.verdicts(), "Say dissect(..., out='FOLDER')"),
    "analyses of nothing written": (lambda t: t.found.units(analyses=True), "Say dissect(..., out='FOLDER')"),
    "an analysis of the field": (lambda t: t.found.analyse("ablation"), "here it is called 'unit-removal'"),
    "a threshold of IoU": (lambda t: dissect(NET, DATA, threshold=0.04), "Say detects=0.04"),
    "units of no layer": (lambda t: t.found.units("plantd"), "Did you mean 'planted'"),
    "top in words": (lambda t: t.found.top("3"), "number=3: cannot be used"),
    "no analysis": (lambda t: t.found.analyse(), "Say found.analyse('chance', 'correlation')"),
    "analyses in a list": (lambda t: t.found.analyse(["chance"]), "Say found.analyse('chance', 'correlation')"),
    "analyse as it was": (lambda t: t.found.analyse("chance", NET, DATA), "with model=MODEL, data=DATA"),
    "an analysis misspelled": (lambda t: t.found.analyse("chanse"), "Did you mean 'chance'?"),
    "a choice of none": (lambda t: t.found.analyse("sensitivity", quantile=1), "Did you mean 'quantiles'?"),
    "a choice of two": (lambda t: t.found.analyse("chance", "correlation", k=3), "for each"),
    "images of another": (lambda t: t.found.analyse("chance", data="scenes:4"), "was made with other data"),
    "a network of another": (lambda t: t.found.analyse("chance", model=redness), "not of redness"),
    "in each other's place": (lambda t: t.found.study(load_data(DATA), NET), "Say model=MODEL, data=DATA"),
    "an unknown figure": (lambda t: t.found.plot("size"), "Did you mean 'sizes'?"),
    "a figure that is none": (lambda t: t.found.plot(3), "is no name of a figure"),
    "a figure's choice": (lambda t: t.found.plot("sizes", colour="red"), "has no choice 'colour'"),
    "a report nowhere": (lambda t: t.found.report(), "Say found.report('FOLDER')"),
    "save nowhere": (lambda t: t.found.save(None), "Say found.save('FOLDER')"),
    "a folder as Dissection": (lambda t: Dissection(t.saved), "read by Dissection.load('FOLDER')"),
    "load nothing": (lambda t: Dissection.load(None), "Say Dissection.load('FOLDER')"),
    "load nowhere": (lambda t: Dissection.load("nowhere"), "Run `inner-detectors match"),
    "explore nothing": (lambda t: Explorer(None), "Say Dissection.load('FOLDER')"),
    "explore a network": (lambda t: Explorer(NET), "Say Dissection.load('FOLDER')"),
    "explore nowhere": (lambda t: Explorer("nowhere"), "Run `inner-detectors match"),
    "explore no such unit": (lambda t: Explorer(t.found, unit="planted:99"), "planted:0 to planted:7"),
    "explore's choice": (lambda t: t.found.explore(units="planted:1"), "Did you mean 'unit'?"),
    "a network to the explorer alone": (lambda t: Explorer(t.found, model=NET), "Give the data too"),
    "chance of nothing": (lambda t: chance(None), "Say Dissection.load('FOLDER')"),
    "chance of a network": (lambda t: chance(t.found, NET), "is no folder"),
}


@QUIET
@pytest.mark.parametrize("guess", REFUSED)
def test_a_wrong_guess_ends_in_one_sentence(there, guess):
    ask, words = REFUSED[guess]
    with pytest.raises((InputError, AttributeError)) as refused:
        ask(there)
    assert_says(refused.value, words, most=700)
    assert "object has no attribute" not in str(refused.value)


def test_there_are_many_guesses():
    assert len(REFUSED) >= 5 + 20 + 25


@QUIET
def test_a_torch_module_is_known_by_its_class(monkeypatch):
    base = type("Module", (), {"__module__": "torch.nn.modules.module"})
    given = []

    def opened(module, size=224, preprocess="mean-std"):
        given.append(module)
        return Model(type(module).__name__, lambda _, images: redness(images), size=size, record={"preprocessing": "x"})

    monkeypatch.setitem(registry.OPENERS.built_in, "torch", opened)
    net = type("ResNet", (base,), {"__call__": lambda self, x: x})()
    assert (load_model(net, size=32).name, given) == ("ResNet", [net])


RIGHT = {
    "one line": lambda t: dissect(NET, DATA, layers="planted", protocol="pnas", progress=False),
    "layers in a tuple": lambda t: dissect(NET, DATA, ("planted",), progress=False),
    "places in a list": lambda t: dissect(NET, ["scenes:4", "staged:2"], progress=False),
    "a source": lambda t: dissect(NET, Scenes(4), progress=False),
    "open data": lambda t: dissect(NET, load_data(DATA), progress=False),
    "a path": lambda t: dissect(NET, Path("scenes:4"), progress=False),
    "choices one by one": lambda t: dissect(NET, DATA, limit=4, quantile=0.02, concepts="sky", progress=False),
    "a protocol": lambda t: dissect(NET, DATA, protocol=Protocol(quantile=0.02), progress=False),
    "a module": lambda t: dissect(Small(nnx.Rngs(0)), DATA, "conv", size=32, progress=False),
    "a module by name": lambda t: dissect(from_nnx(Small(nnx.Rngs(0)), "mine", size=32), DATA, "conv", progress=False),
    "a bound module of linen": lambda t: dissect(
        linen.Conv(2, (3, 3)).bind({"params": {"kernel": jnp.ones((3, 3, 3, 2)), "bias": jnp.ones(2)}}),
        DATA,
        size=32,
        preprocess="unit-range",
        progress=False,
    ),
    "a function": lambda t: dissect(redness, DATA, size=64, progress=False),
    "a compiled function": lambda t: dissect(jax.jit(redness), DATA, progress=False),
    "a device": lambda t: dissect(NET, DATA, devices=jax.devices()[0], progress=False),
    "thresholds of a folder": lambda t: dissect(NET, "scenes:4", thresholds=t.saved, progress=False),
    "the network of a study": lambda t: dissect(t.found.study(), DATA, progress=False),
    "a folder's file": lambda t: Dissection.load(Path(t.saved) / "dissection.nc"),
    "read again": lambda t: pickle.loads(pickle.dumps(t.found)),
    "copied": lambda t: copy.deepcopy(t.found),
}


@QUIET
@pytest.mark.parametrize("guess", RIGHT)
def test_a_right_guess_is_a_dissection(there, guess):
    made = RIGHT[guess](there)
    assert isinstance(made, Dissection) and len(made) == len(made.units()) > 0


@QUIET
def test_names_open_what_is_opened_by_hand():
    by_name = dissect(NET, "scenes:8", "planted", "pnas", limit=4, progress=False)
    by_hand = dissect(NET, load_data("scenes:8", limit=4), ["planted"], protocols["pnas"], progress=False)
    assert by_name.table.attrs["run"] == by_hand.table.attrs["run"]
    assert by_name.table.attrs["command"] == by_hand.table.attrs["command"]
    some = dissect(NET, load_data("scenes:8").take(4), ["planted"], progress=False)
    assert "command" not in some.table.attrs, "a selection by hand has no words"


def test_networks_are_called_by_their_class():
    module = Small(nnx.Rngs(0))
    with pytest.warns(
        UserWarning, match=r"does not say what it was trained with, so this is taken: preprocess='unit-ra"
    ):
        assert load_model(module, size=32).name == "Small"
    assert from_nnx(module, size=32).name == "Small" and from_nnx(module, "mine", size=32).name == "mine"
    variables = {"params": {"kernel": jnp.ones((3, 3, 3, 2)), "bias": jnp.ones(2)}}
    assert from_linen("mine", linen.Conv(2, (3, 3)), variables, size=32).name == "mine"
    assert (from_function(redness).name, from_function(lambda images: redness(images)).name) == ("redness", "function")
    scaled = from_function(lambda scale, images: {"red": scale * images[..., :1]}, "scaled", parameters=jnp.ones(()))
    assert (scaled.name, load_model(scaled) is scaled) == ("scaled", True)


def test_a_published_name_without_its_choices_is_said():
    with pytest.warns(UserWarning, match=r"protocols\['pnas'\]"):
        Protocol("pnas")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Protocol("mine", quantile=0.01)


def test_a_unit(found):
    unit = found["planted:6"]
    row = found.units().iloc[6]
    assert (unit.label, unit.score, unit.images, unit.threshold) == (row.concept, row.iou, row.images, row.threshold)
    best = found.top(5).query("unit == 'planted:6'")
    assert unit.table().concept.tolist() == best.concept.tolist() and unit.table().iou.tolist() == best.iou.tolist()
    assert (
        found["planted", 6] == found[6] == found[np.int64(6)] == unit
        and unit in found
        and "planted:8" not in found
        and 6 not in found
    )
    assert [one.unit for one in found] == found.table.unit.values.tolist() and len(found) == 8
    assert found.to_dataframe().equals(found.units())
    silent = next(one for one in found if not one.label)
    assert (silent.score, silent.images, silent.runners_up, silent.detects) == (0, 0, (), False)
    assert "no label" in repr(silent) and "<" not in repr(unit)
    shown = unit._repr_html_()
    assert "data:image/png;base64" in shown and "planted:6" in shown
    bare = Dissection(found.table)["planted:6"]._repr_html_()
    assert "data:image" not in bare and "No images" in bare and "model=MODEL" in bare
    assert len(unit.figure(number=2)) == len(found.plot("planted:6", number=2)) == 4
    plt.close("all")


def test_one_analysis_is_one_result_and_several_are_a_list(found, tmp_path):
    one = found.analyse("chance", progress=False)
    several = found.analyse("chance", "top_images", progress=False)
    assert type(one).__name__ == "Chance" and [type(each).__name__ for each in several] == ["Chance", "TopImages"]
    assert one.table.identical(several[0].table.assign_attrs(date=one.table.attrs["date"]))
    found.save(tmp_path)
    for given in (found, found.study()):
        assert chance(given, progress=False).table.attrs["identity"] == one.table.attrs["identity"]
    with pytest.raises(InputError, match="was made of a network that no name opens \\(planted\\)"):
        chance(tmp_path)


@QUIET
def test_explorer_takes_them_either_way(found):
    for look in (Explorer(found, NET, load_data(DATA)), Explorer(found, DATA, NET), found.explore(), Explorer(found)):
        assert look.material.live and not look.message


@pytest.fixture
def named(small, tmp_path):
    "A dissection made by names, in a folder; and where its images lie."
    place = write_folder(Scenes(6, size=64), tmp_path / "images")
    dissect(small, f"folder:{place}", "mixed", limit=4, out=tmp_path / "out", progress=False)
    return SimpleNamespace(out=tmp_path / "out", place=Path(place), moved=tmp_path / "moved")


@QUIET
def test_a_folder_alone_is_enough(named):
    found = Dissection.load(named.out)
    assert found.origin is None and type(found.analyse("chance", progress=False)).__name__ == "Chance"
    assert type(chance(str(named.out), named.out, progress=False)).__name__ == "Chance"
    look = Explorer(named.out)
    assert look.material.live and look.message == "" and len(look.material.data) == 4
    assert reopen_study(str(named.out), Opening(quiet=True)).names == ["mixed"]
    assert found.report(progress=False) == named.out / "report" / "index.html"
    assert "data:image/png" in found["mixed:1"]._repr_html_()


@QUIET
def test_moved_images_are_missed_and_found_again(named):
    shutil.move(named.place, named.moved)
    found = Dissection.load(named.out)
    with pytest.raises(InputError) as refused:
        found.analyse("chance")
    assert_says(refused.value, str(named.place))
    look = Explorer(named.out)
    assert not look.material.live and str(named.place) in look.message and look.unit.startswith("mixed:")
    with pytest.warns(UserWarning, match="no photographs"):
        found.report(progress=False)
    assert type(found.analyse("chance", data=f"folder:{named.moved}", progress=False)).__name__ == "Chance"


@QUIET
def test_a_network_that_is_gone_leaves_the_images(named, small):
    del registry.MODELS[small]
    look = Explorer(named.out)
    assert look.material.data is not None and look.material.model is None
    assert_says(look.message, "What it was made of could not be opened again", "no model 'small'")
    with pytest.raises(InputError, match="no model 'small'"):
        Dissection.load(named.out).analyse("chance")


@QUIET
def test_a_network_of_ones_own_is_asked_for_and_its_images_are_not(tmp_path):
    dissect(redness, "scenes:4", out=tmp_path, size=64, progress=False)
    found = Dissection.load(tmp_path)
    with pytest.raises(InputError, match="was made of a network that no name opens"):
        found.analyse("chance")
    again = from_function(redness, size=64)
    assert type(found.analyse("chance", model=again, progress=False)).__name__ == "Chance"
    assert Explorer(tmp_path).material.data is not None


# help() and ?

PARTS = re.compile(r"^(Args|Returns|Raises|Example):$", re.M)


def documented():
    "Every name of the public face, and the methods and properties of those that one holds in one's hand."
    yield from FACE.items()
    for kind in (FACE["Dissection"], FACE["Unit"]):
        for name in vars(kind):
            if not name.startswith("_") and callable(getattr(kind, name, None)):
                yield f"{kind.__name__}.{name}", getattr(kind, name)


def sections(one):
    "The sections of a docstring, by name."
    text = inspect.getdoc(one) or ""
    pieces = PARTS.split(text)
    return text.partition("\n")[0], dict(zip(pieces[1::2], pieces[2::2]))


def arguments(one):
    "The names of the arguments of a call, as its help lists them."
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [
        stars.get(parameter.kind, "") + name
        for name, parameter in inspect.signature(one).parameters.items()
        if name not in ("self", "cls")
    ]


DOCUMENTED = dict(documented())


def test_many_names_are_documented():
    assert len(DOCUMENTED) > 35


@pytest.mark.parametrize("name", DOCUMENTED)
def test_help_says_what_there_is_to_know(name):
    one = DOCUMENTED[name]
    first, parts = sections(one)
    if name == "InputError":  # says what it is, and is not called
        return
    assert first.endswith((".", "?")), "begins with a sentence"
    listed = re.findall(r"^    (\*{0,2}\w+): \S", parts.get("Args", ""), re.M)
    assert listed == arguments(one), "every argument of the signature, in order"
    assert "Example" in parts
    wanted = inspect.signature(one).return_annotation
    if not inspect.isclass(one) and wanted not in (None, "None"):
        assert parts["Returns"].strip().endswith(".")
    if not inspect.isclass(one) and listed:
        assert re.search(r"^    InputError: \S", parts["Raises"], re.M)


def test_properties_are_documented():
    for kind in (FACE["Dissection"], FACE["Study"], FACE["Protocol"], FACE["Data"], FACE["Model"]):
        for name, one in vars(kind).items():
            if not name.startswith("_") and isinstance(one, (property, cached_property)):
                assert inspect.getdoc(one), f"{kind.__name__}.{name}"


@QUIET
@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_run(name, found, tmp_path):
    text = inspect.getdoc(DOCUMENTED[name])
    names = {**FACE, "found": found, "folder": str(tmp_path), "data": load_data(DATA)}
    if name in ("Dissection.load", "Dissection.verdicts"):
        found.save(tmp_path)
    test = doctest.DocTestParser().get_doctest(text, names, name, name, 0)
    said = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False).run(test, out=said.append)
    assert not said, "".join(said)
    fenced = re.findall(r"```\n(.*?)```", text, re.S)
    assert test.examples or fenced or name == "InputError"
    for code in fenced:
        called = set(compile(inspect.cleandoc(code), name, "exec").co_names) & set(FACE)
        assert called, "calls what is there"
    plt.close("all")


def test_the_face_lists_what_it_has():
    assert set(inner_detectors.__all__) == set(FACE) <= set(dir(inner_detectors))
    assert inner_detectors.analyses.__name__ == "inner_detectors.analyses"
    assert isinstance(load_data(DATA), Data) and isinstance(NET, Model)


# ---- what is on disk


@pytest.fixture
def own(tmp_path, monkeypatch):
    "A folder to work in, and a small dissection of its own."
    monkeypatch.chdir(tmp_path)
    return dissect(planted_model(), "scenes:8", out="r/one", progress=False)


def test_a_folder_is_the_same_from_everywhere(own, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    own.analyse("chance", progress=False)
    assert (tmp_path / "r/one/chance.nc").exists() and not list((tmp_path / "other").iterdir())


def test_no_folder_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"is no folder. Say dissect\(..., out='FOLDER'\)"):
        dissect(planted_model(), "scenes:8", out="", progress=False)
    assert not list(tmp_path.glob("*.npz"))


def test_a_report_writes_over_nothing_but_reports(own, tmp_path):
    (tmp_path / "mine/images").mkdir(parents=True)
    (tmp_path / "mine/images/0.jpg").write_bytes(b"a photograph")
    with pytest.raises(InputError, match="images/0.jpg, which is of no report"):
        own.report(out="mine", progress=False)
    assert (tmp_path / "mine/images/0.jpg").read_bytes() == b"a photograph" and len(list(Path("mine").iterdir())) == 1
    own.report(progress=False)
    (tmp_path / "r/one/top-images.nc").unlink()
    assert run(["report", "r/one", "--quiet"]) == 1  # it would have no photographs
    assert list((tmp_path / "r/one/report/images").iterdir())


def test_as_many_images_as_are_asked_for(own):
    own.analyse("top-images", number=2, progress=False)
    assert len(own["planted:6"].figure(number=2, progress=False)) < len(
        own["planted:6"].figure(number=5, progress=False)
    )


def test_a_networks_name_is_no_path(tmp_path, monkeypatch):
    from inner_detectors.dissection.run import how_opened

    (tmp_path / "vgg16").mkdir()
    (tmp_path / "net.onnx").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert how_opened("vgg16", ["scenes:4"], {}, {})["model"] == "vgg16"
    assert how_opened("net.onnx", ["scenes:4"], {}, {})["model"] == str(tmp_path / "net.onnx")


def test_the_call_that_makes_it_again_makes_the_same(own, tmp_path):
    "With borrowed thresholds, a part of the data, and a protocol of a name of one's own."
    from dataclasses import replace

    from inner_detectors.dissection.protocol import protocols
    from inner_detectors.dissection.repeat import repeat_words

    mine = Protocol("mine", quantile=0.005)
    lent = dissect(planted_model(), "scenes:8", limit=6, seed=2, protocol=mine, thresholds="r/one", progress=False)
    words = repeat_words(lent)
    names = dict(dissect=dissect, replace=replace, protocols=protocols, Protocol=Protocol, model=planted_model())
    again = eval(words, names)
    assert again.table.attrs["run"] == lent.table.attrs["run"], words
    assert again.table.drop_attrs().identical(lent.table.drop_attrs())


def test_a_unit_without_a_label_rests_on_nothing(there):
    rows = there.found.units()
    assert (rows.concept == "").any() and (rows.images[rows.concept == ""] == 0).all()


@pytest.mark.parametrize(
    "call, says",
    {
        "layers of a name": (lambda t: inner_detectors.layers("vgg16"), "Say layers(load_model(...))"),
        "half a batch": (lambda t: dissect(planted_model(), "scenes:8", batch=2.5), "a whole number, 1 or more"),
        "half a unit": (lambda t: t.found.top(1.5), "a whole number, 1 or more"),
        "a figure's choice": (lambda t: t.found.plot("planted:6", number=2, foo=1), "has no choice 'foo'"),
        "a figure's width": (lambda t: t.found.plot("layers", width=3.3), "Say style='paper'"),
        "a table": (lambda t: t.found.head(), "Say found.units(), a table of pandas"),
        "a study's choice": (lambda t: t.found.study(foo=1), "has no choice 'foo'"),
        "a page of no name": (lambda t: t.found.explore().save("."), "is no file"),
    }.values(),
)
def test_more_wrong_guesses(there, call, says):
    with pytest.raises((InputError, AttributeError)) as refused:
        call(there)
    assert says in str(refused.value)


def test_what_tests_say_is_had_from_python(own):
    assert set(own.verdicts().verdict) <= {"untested", "no detector"} and "tried" not in own.verdicts()
    found = own.analyse("concept-removal", fills="mean", progress=False)
    said = own.verdicts()
    assert said.verdict.str.startswith("too few images").any() and not (said.verdict == "fails").any()
    assert "hidden_q" in own.units(analyses=True) and "hidden_q" not in own.units()
    assert set(found.plot()) <= {path.stem for path in Path("r/one").glob("*.png")}


def test_in_another_session_what_is_finished_is_read(own):
    "A network that no name opens is not at hand; photographs and what is finished are."
    own.analyse("chance", "top-images", progress=False)
    again = Dissection.load("r/one")
    assert again.analyse("chance").table.identical(own.analyse("chance", progress=False).table)
    with pytest.raises(InputError, match="Give it in Python: found = Dissection.load"):
        again.analyse("correlation")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = again.report(progress=False)
    assert list((page.parent / "images").glob("*.jpg"))
    assert again["planted:6"].figure(number=2)[0].images, "a photograph"
    shutil.rmtree("r/one/report")
    (Path("r/one") / "top-images.nc").unlink()
    with pytest.raises(InputError, match="Say found.analyse\\('top-images', model=MODEL\\) first"):
        Dissection.load("r/one")["planted:6"].figure()


def test_data_given_open_are_opened_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    some = load_data("scenes:8", limit=6, seed=3, concepts="red")
    assert some.opened == {"places": ["scenes:8"], "limit": 6, "seed": 3, "concepts": ["red"]}
    found = dissect(planted_model(), some, out="r", progress=False)
    assert len(Dissection.load("r").study(planted_model()).data) == 6 and len(found) == 8
    for other in (some.take(2), some.at([0]), some.about("red"), load_data(some, limit=2)):
        assert other.opened is None


def test_a_layer_before_its_relu_is_warned_of():
    def below(images):
        return {"before": images[:, ::4, ::4] - 2.0, "behind": images[:, ::4, ::4]}

    with pytest.warns(UserWarning, match="layer 'before': 3 of 3 units have a threshold below 0"):
        dissect(from_function(below, size=64), "scenes:4", ["before"], geometry="half-pixel", progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dissect(from_function(below, size=64), "scenes:4", ["behind"], geometry="half-pixel", progress=False)


def test_what_a_unit_is_asked_for(there):
    unit = there.found["planted:6"]
    for word, ours in {
        "iou": "score",
        "concept": "label",
        "plot": r"figure\(\)",
        "verdict": r"found.verdicts\(\)",
    }.items():
        with pytest.raises(AttributeError, match=f"Say {ours}"):
            getattr(unit, word)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = unit.nonsense
