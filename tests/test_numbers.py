"""Numbers that are refused (infinite activations, options that are 0), that are rounded once, and names that are not
there."""

import inspect
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from made_up import dissection
from sentences import assert_says

from inner_detectors.cli.flags import settings_of
from inner_detectors.cli.main import command_named, names, run
from inner_detectors.cli.visualise import chosen_units
from inner_detectors.analyses.simulation import simulation
from inner_detectors.analyses.unit_removal import unit_removal
from inner_detectors.transfer.baselines import contest_draws
from inner_detectors.core.errors import InputError, at_least
from inner_detectors.analyses.correlation import correlation
from inner_detectors.dissection.protocol import protocols
from inner_detectors.dissection.detectors import near_unit
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import Study, study, unit_places
from inner_detectors.analyses.chance import chance
from inner_detectors.views.explained import explain_network
from inner_detectors.networks.model import Model
from inner_detectors.views.report import page_file
from inner_detectors.dissection.parts import plain_numbers
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.analyses.sensitivity import sensitivity
from inner_detectors.data.readers.registry import load_data
from inner_detectors.passes.batches import View
from inner_detectors.passes.sweep import Checkpoint
from inner_detectors.analyses.top_images import top_images
from inner_detectors.transfer.detector_bank import detector_bank
from inner_detectors.transfer.network import transfer
from inner_detectors.analyses.concept_removal import concept_removal

# ---- activations that are not finite

FINE = Model(
    "means",
    lambda _, images: {"early": images, "deep": images.reshape(-1, 8, 4, 8, 4, 3).mean((2, 4))},
    size=32,
    preprocess=lambda images: images.astype(jnp.float32),
)


def spoilt(value, layer="deep", unit=1):
    "The same network; one value of one unit is another in every image."

    def forward(parameters, images):
        found = FINE.forward(parameters, images)
        return {**found, layer: found[layer].at[:, 3, 2, unit].set(value)}

    return replace(FINE, forward=forward)


@pytest.fixture(scope="module")
def data():
    return load_data("scenes:5")


@pytest.mark.filterwarnings("ignore:.*is not known")
@pytest.mark.parametrize("protocol", ["netdissect", "pnas", "per-image"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan], ids=str)
def test_activations_that_are_not_finite_are_refused(value, protocol, data):
    with pytest.raises(InputError) as refused:
        dissect(spoilt(value), data, ["early", "deep"], protocols[protocol], batch=2, progress=False)
    assert_says(refused.value, "layer 'deep'", f"unit 1 is {value} in 000000", "must be finite", "Check the weights")


@pytest.mark.filterwarnings("ignore:.*is not known")
def test_infinite_activations_beside_given_thresholds_and_in_analyses(data):
    found = dissect(FINE, data, ["deep"], progress=False)
    with pytest.raises(InputError, match="unit 2 is inf"):
        dissect(spoilt(np.inf, unit=2), data, ["deep"], progress=False, out=None)
    these = study(found, FINE, data)
    for ask in (
        lambda one: top_images(one, progress=False),
        lambda one: correlation(one, progress=False),
        lambda one: sensitivity(one, progress=False),
        lambda one: concept_removal(one, concepts=["dog"], progress=False),
    ):
        with pytest.raises(InputError, match="layer 'deep': unit 0 is -inf in 0000"):
            ask(these._replace(model=spoilt(-np.inf, unit=0)))


@pytest.mark.filterwarnings("ignore:.*is not known")
def test_a_network_of_16_bits_that_overflows(data):
    def forward(_, images):
        return {"half": (images.astype(jnp.float16) * 300)[:, ::4, ::4]}

    with pytest.raises(InputError) as refused:
        dissect(replace(FINE, forward=forward), data, ["half"], progress=False)
    assert_says(refused.value, "layer 'half'", "is inf in 000000", "65504", "32")


# ---- options


def words_of(command):
    "What must be said beside the options."
    return {
        "match": ["vgg16", "--data", "scenes:2"],
        "map": ["scenes:2"],
        "scenes": ["nowhere"],
        "study": ["nowhere", "--with", "chance"],
    }.get(command, ["nowhere"])


OPTIONS = [
    (name, flag.parameter.name)
    for name in names()
    for flag in command_named(name).flags
    if settings_of(flag)[1].get("type") in (int, float) and flag.parameter.default is not flag.parameter.empty
]


@pytest.mark.parametrize("name,option", OPTIONS, ids=lambda word: word)
def test_no_number_is_replaced_in_silence(name, option, capsys):
    assert len(OPTIONS) > 30
    if option in ("quantile", "quantiles", "mask_size", "keep", "detects", "apart"):
        wrong = ["-1"]  # shares: their owners refuse them
    else:
        wrong = ["-1"] if option in ("seed", "checkpoint", "memory") else ["0", "-3"]
    for number in wrong:
        assert run([name, *words_of(name), f"--{option.replace('_', '-')}", number]) == 1
        said = capsys.readouterr().err
        assert option.replace("_", "-") in said.replace("_", "-") and number in said or option in ("quantiles", "apart")


NO_STUDY = Study(None, None, None, None, ())  # numbers are looked at before it


def test_numbers_are_refused_by_functions_too():
    for wrong in (
        lambda: View(224, 112, batch=0),
        lambda: View(0, 112),
        lambda: Checkpoint(None, "", -1.0),
        lambda: at_least(1, k=float("nan")),
        lambda: concept_removal(NO_STUDY, least=0),
        lambda: concept_removal(NO_STUDY, seed=-1),
        lambda: top_images(NO_STUDY, number=0),
    ):
        with pytest.raises(InputError, match="cannot be used"):
            wrong()
    found = dissection({"conv": (7, 6)}, ["dog", "car"], ["a.jpg"])
    with pytest.raises(InputError, match="number=0: cannot be used. Give 1 or more"):
        found.top(0)


PAIRS = [
    ("match", dissect, {"checkpoint": "every"}),
    ("match", load_data, {}),
    ("map", load_data, {}),
    ("transfer", detector_bank, {}),
    ("transfer", transfer, {}),
    ("transfer", contest_draws, {}),
    ("chance", chance, {}),
    ("sensitivity", sensitivity, {}),
    ("concept-removal", concept_removal, {}),
    ("unit-removal", unit_removal, {}),
    ("simulation", simulation, {}),
    ("correlation", correlation, {}),
    ("top-images", top_images, {}),
    ("visualise", top_images, {}),
    ("explain", explain_network, {}),
    ("scenes", Scenes, {"number": "count"}),
    ("transfer", explain_network, {"number": "-"}),
]
APART = {
    "data",
    "labels",
    "fills",
    "classes",
    "without",
    "forbid",
    "units",
    "concepts",
    "layers",
    "thresholds",
    "out",
    "progress",
}  # words, not numbers


@pytest.mark.parametrize(
    "name,function,called", PAIRS, ids=lambda one: getattr(one, "__name__", one if isinstance(one, str) else "")
)
def test_defaults_of_command_and_function_agree(name, function, called):
    theirs, flags = inspect.signature(function).parameters, command_named(name).flags
    comments = {flag.parameter.name: flag.comment for flag in flags}
    for option, parameter in ((flag.parameter.name, flag.parameter) for flag in flags):
        owner = theirs.get(called.get(option, option))
        if owner is None or option in APART or inspect._empty in (owner.default, parameter.default):
            continue
        if parameter.default is None and owner.default is not None:
            assert (
                f"{owner.default} where none is given" in comments[option]
                or f"{owner.default} (where none is given)" in comments[option]
            ), option
        else:
            assert parameter.default == getattr(owner.default, "name", owner.default), option


# ---- rounding

VALUES = [
    0.358518,
    0.340483,
    0.3405,
    0.0625,
    0.1875,
    0.3125,
    0.9995,
    0.0005,
    0.00049,
    1.0,
    0.0,
    -0.0625,
    -0.340483,
    2.0004999,
    0.5625,
]


def test_the_report_holds_numbers_unrounded():
    assert plain_numbers(np.array([0.358518123, 1 / 3, 2.0, np.nan])) == [0.358518123, 1 / 3, 2, None]
    assert plain_numbers(np.array([np.float32(0.1)])) == [float(np.float32(0.1))]


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the page's functions")
def test_the_page_rounds_once_and_as_python_does():
    random = np.random.default_rng(0)
    values = [
        *VALUES,
        *random.random(500).tolist(),
        *(random.integers(1, 64, 200) / 64).tolist(),
        *np.float32(random.lognormal(0, 3, 300)).tolist(),
    ]
    code = f"{page_file('report.js')}; const all = {json.dumps(values)};"
    code += (
        "console.log(JSON.stringify(all.map(v => [report.shown.score(v), report.shown.two(v), report.shown.percent(v), "
        "report.shown.number(v)])))"
    )
    said = json.loads(subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True).stdout)

    def plain(text):
        return text.replace("−", "-").replace(",", "")

    for value, (score, two, percent, number) in zip(values, said):
        assert plain(score) == re.sub(r"^-(0\.?0*)$", r"\1", f"{value:.3f}")
        assert plain(two) == re.sub(r"^-(0\.?0*)$", r"\1", f"{value:.2f}")
        assert plain(percent) == f"{100 * value:.{1 if abs(value) < 0.095 else 0}f}%"
        if 1e-4 <= abs(value) < 1e3:
            assert float(plain(number)) == (value if value == int(value) else float(f"{value:.3g}"))


# ---- names

UNITS = np.array([f"{layer}:{index}" for layer in ("conv4_3", "conv5_3") for index in range(512)])  # NumPy's strings


def test_a_unit_out_of_range_is_answered_with_the_range():
    assert (
        near_unit("conv5_3:512", UNITS)
        == near_unit("conv5_3:-1", UNITS)
        == "Layer 'conv5_3' has units conv5_3:0 to conv5_3:511."
    )
    assert near_unit("conv53:12", UNITS) == "Did you mean 'conv5_3:12' or 'conv4_3:12'?"


def test_sentences_show_plain_names(tmp_path):
    found = dissection({"conv4_3": (7, 8), "conv5_3": (7, 12)}, ["dog", "car"], ["a.jpg"])
    found.save(tmp_path)
    found = Dissection.load(tmp_path)
    for ask, words in (
        (lambda: unit_places(found, [UNITS[511]]), ("no unit 'conv4_3:511'", "conv4_3:0 to conv4_3:7")),
        (lambda: chosen_units(found, ["conv5_3:12"]), ("no unit 'conv5_3:12'", "conv5_3:0 to conv5_3:11")),
        (lambda: chosen_units(found, ["dgo"]), ("'dgo'", "Did you mean 'dog'?")),
        (lambda: chosen_units(found, ["conv5-3"]), ("'conv5-3'", "Did you mean 'conv5_3'")),
        (lambda: found.known("unit", np.str_("conv4_3:9")), ("no unit 'conv4_3:9'", "conv4_3:0 to conv4_3:7")),
        (lambda: found.known("concept", np.str_("cra")), ("no concept 'cra'", "Did you mean 'car'?")),
    ):
        with pytest.raises(InputError) as refused:
            ask()
        assert_says(refused.value, *words)
        assert "np." not in str(refused.value)


def test_memory_is_asked_for_before_the_start(data):
    many = replace(
        FINE, forward=lambda _, images: {"deep": jnp.repeat(images.reshape(-1, 8, 4, 8, 4, 3).mean((2, 4)), 4, -1)}
    )
    before = os.sysconf
    try:
        os.sysconf = lambda name: 1  # a machine with one byte
        with pytest.raises(InputError) as refused:
            dissect(many, data, ["deep"], replace(protocols["netdissect"], geometry="half-pixel"), progress=False)
    finally:
        os.sysconf = before
    assert_says(refused.value, "thresholds of 12 units over 5 images", "memory", "Name fewer layers")
