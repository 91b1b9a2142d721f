"What all tests share: where the samples and the weights are, and a quiet JAX on the CPU."

import gc
import os
import re
import shutil
import signal
import tempfile
from functools import lru_cache
from pathlib import Path

import pytest

# Before any test imports JAX. What is set outside wins.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

# Many tests start the command anew on the same network. What one process has compiled, the others take up:
# in the folder that the Makefile names for notebooks and tests alike, or in one that goes with this run.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": tempfile.mkdtemp(prefix="compiled-"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }
    MADE_HERE = os.environ["JAX_COMPILATION_CACHE_DIR"]
else:
    MADE_HERE = ""

# Tracing makes millions of small objects that live on: looking through them all again and again is a tenth of the time.
gc.set_threshold(100_000, 50, 100)

# A shell that starts this in the background has Ctrl-C ignored, and so would every command that is interrupted here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


def pytest_unconfigure():
    if MADE_HERE:
        shutil.rmtree(MADE_HERE, ignore_errors=True)


# What may be skipped where everything must hold (INNER_DETECTORS_CI=1, as .ci/run sets it). Any other reason fails the
# run.
MAY_BE_SKIPPED = re.compile(
    r"torch is not installed|could not import 'torch'|takes minutes|WordNet 3\.0's database|the WordNet database that is here"
    r"|root may write everywhere|on this machine activations differ|no node to run|a small file system cannot be mounted"
)
SKIPPED: list[str] = []


def pytest_runtest_logreport(report):
    if report.skipped and isinstance(report.longrepr, tuple) and not MAY_BE_SKIPPED.search(report.longrepr[2]):
        SKIPPED.append(f"{report.nodeid}: {report.longrepr[2]}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if SKIPPED and os.environ.get("INNER_DETECTORS_CI") == "1" and not hasattr(session.config, "workerinput"):
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    if SKIPPED and os.environ.get("INNER_DETECTORS_CI") == "1":
        terminalreporter.section("skipped for a reason that is not on the list in tests/conftest.py")
        for line in SKIPPED:
            terminalreporter.line(line)


# The files that take longest, the longest first: each goes to one process as a whole, and in the end none should be left
# alone with a long one. All others follow by name.
LONG = (
    "restart rooms protocols transfer exact docs explore gradients explain own_models report planted study edit repository "
    "sensitivity models command visualise ablate plugin hostile extras expected verify evidence top"
).split()


# `make test` tries every rule at least once. What `make test-long` adds are further variants of the same rules: more seeds,
# more moments to be killed at, more protocols, layers and networks of the same kind. Each is a pattern of names.
FURTHER = re.compile(
    "|".join(
        [
            r"test_restart.py::test_killed_three_times",
            r"test_restart.py::test_killed_while_it_saves.(before-1|before-7|after-11|before-14)\]",
            r"test_restart.py::test_another_runs_checkpoint_is_not_taken_up.--seed",
            r"test_restart.py::test_no_room.(first checkpoint|dissection|figure)",
            r"test_rooms.py::test_killed_and_started_again.(correlation|concept|sensitivity|simulation|top)",
            r"test_rooms.py::test_without_classes_there_is_a_default.verify",
            r"test_protocols.py::test_a_protocol_on_photographs_equals_the_reference.(pnas|per-image)",
            r"test_protocols.py::test_vgg16_scores_photographs_alike_in_reverse",
            r"test_protocols.py::test_(any_order_and_any_batch|parts_merge|dead_units|half_of|maps_of_one_colour)\w*"
            r".(pnas|images to data, all|data to images\]|images to Dice|data to Dice)",
            r"test_protocols.py::test_a_run_cut_short\w*.(images to data|data to Dice)",
            r"test_protocols.py::test_thresholds_of_other_images\w*.(pnas|data to images|data to Dice)",
            r"test_exact.py::test_any_batch_gives_the_same_counts.(1|11|16)\]",
            r"test_exact.py::test_vgg16_gives_the_same_counts_in_other_batches",
            r"test_exact.py::test_analyses_on_two_devices",
            r"test_gradients.py::test_methods_equal_torch.lite0\S*-(gradient|guided_backpropagation|integrated_gradients)",
            r"test_gradients.py::test_deconvolution\w*.\S*-[123]\]",
            r"test_transfer.py::test_planted_units_are_picked_and_no_others.[1-5]",
            r"test_transfer.py::test_(the_stage_misleads|killed_and_started_again)",
            r"test_ablate.py::test_removal_equals_edited_weights_of_vgg16.conv4_2",
            r"test_own_models.py::test_measured_geometry_of_efficientnet_lite0",
            r"test_own_models.py::test_measured_geometry_of_vgg16.conv3_3",
            r"test_own_models.py::test_the_field_of_efficientnet_lite0",
            r"test_models.py::test_an_image_has_the_same_bits_in_any_batch(\S*-[24]\]|.lite0)",
            r"test_sensitivity.py::test_equals_runs_of_dissect.(pnas|per-image|mixed|turned|dice, one threshold)",
            r"test_edit.py::test_(banks|unit_removal_and_simulation)_of_every_kind.linen",
            r"test_edit.py::test_banks_of_every_kind.nnx",
            r"test_visualise.py::test_real_units",
            r"test_repository.py::test_types",
            r"test_extras.py::test_what_works_without_extras",
            r"test_docs.py::test_page_runs.own_network",
            r"test_report.py::test_nothing_serious_from_axe.(light-390|dark-1280)",
            r"test_visualise.py::test_needs_no_photographs_and_no_dissection_in_a_process_of_its_own",
            r"test_gradients.py::test_(an_optimised_picture_pleases|more_steps)",
            r"test_rooms.py::test_killed_and_started_again.unit-removal",
            r"test_plugin.py::test_they_are_in_the_help",
            r"test_verify.py::test_killed_and_started_again",
            r"test_top.py::test_killed",
            r"test_evidence.py::test_goes_on_where_it_stopped",
            r"test_visualise.py::test_hostile_names_in_figures_of_runs",
            r"test_transfer.py::test_two_networks",
            r"test_study.py::test_killed_in_the_shared_pass.(between batches|in the last batch)",
            r"test_exact.py::test_units_of_every_layer_of_vgg16",
            r"test_gradients.py::test_methods_equal_torch.vgg16\S*-(gradient|guided_backpropagation|integrated_gradients)",
            r"test_planted.py::test_the_same_through_a_coco_folder",
            r"test_docs.py::test_(the_site|search|reference|commands_that_the_report)",
            r"test_docs.py::test_page_runs.(start|results|server|papers|own_data|figures)\]",
            r"test_sensitivity.py::test_(any_batch_size|equals_the_definition).per-image",
            r"test_study.py::test_several_give_what_each_gives_alone",
            r"test_explain.py::test_no_sideways_scroll.768",
            r"test_report.py::test_no_sideways_scroll.\S*768",
        ]
    )
)


def pytest_collection_modifyitems(items):
    place = {f"test_{name}": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))
    for item in items:
        if FURTHER.search(item.nodeid):
            item.add_marker("long")


@pytest.fixture(scope="session", autouse=True)
def painted_once():
    "The first scenes are asked for hundreds of times; a process paints each once. What paints them is tested without."
    from inner_detectors.synthetic.scenes import Scenes

    paint = Scenes.sample

    @lru_cache(maxsize=256)
    def painted(count, seed, size, key):
        return paint(Scenes(count, seed, size), key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scenes, "sample", lambda self, key: painted(self.count, self.seed, self.size, key))
        yield


# Where figures need only be there: what they look like is looked at in test_figures, test_visualise, test_command,
# test_hostile and the notebooks, and drawing them is a third of the time of these.
NOT_LOOKED_AT = (
    "rooms study docs edit report transfer protocols exact planted sensitivity ablate verify evidence top expected plugin door"
    " models forms own_models label_maps"
).split()


def blank(figure, file, *, format=None, metadata=None, **_):
    "In the place of a figure's file, one of the same kind and mark that shows nothing."
    from PIL import Image, PngImagePlugin

    if format == "pdf" or str(file).endswith(".pdf"):
        data = b"%PDF-1.4\n%%EOF\n"
        return Path(file).write_bytes(data) if isinstance(file, (str, Path)) else file.write(data)
    marks = PngImagePlugin.PngInfo()
    for name, text in (metadata or {}).items():
        marks.add_text(name, text)
    Image.new("RGB", (1, 1)).save(file, "png", pnginfo=marks)


@pytest.fixture(scope="module", autouse=True)
def figures_are_blank(request):
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        if request.path.stem.removeprefix("test_") in NOT_LOOKED_AT:
            patch.setattr(Figure, "savefig", blank)
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    "The checkout."
    return ROOT


@pytest.fixture(scope="session")
def samples() -> Path:
    """A folder of real samples in their published layouts (camvid, coco2017_mini, ...), which are not part of the
    repository."""
    path = Path(os.environ.get("INNER_DETECTORS_SAMPLES") or ROOT.parent / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"no samples of real data at {path}; INNER_DETECTORS_SAMPLES may name them")
    return path


def fetched(*place: str) -> Path:
    "A parameter file that `inner-detectors fetch` brings."
    path = Path(os.environ.get("INNER_DETECTORS_HOME") or ROOT / "pre-models").joinpath(*place)
    if not path.is_file():
        pytest.skip(f"no weights at {path}; make weights fetches them")
    return path


@pytest.fixture(scope="session")
def vgg16_weights() -> Path:
    "VGG16's thirteen convolutions, as `inner-detectors fetch vgg16-conv` writes them."
    return fetched("vgg16", "vgg16_conv.safetensors")


@pytest.fixture(scope="session")
def lite0_weights() -> Path:
    "EfficientNet-Lite0, as `inner-detectors fetch efficientnet-lite0` writes it."
    return fetched("efficientnet-lite0", "efficientnet_lite0.safetensors")
