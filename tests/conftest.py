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


def pytest_collection_modifyitems(items):
    place = {f"test_{name}": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONG)))


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
