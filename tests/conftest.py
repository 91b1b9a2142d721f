"What all tests share: where the samples and the weights are, and a quiet JAX on the CPU."
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

# Before any test imports JAX. What is set outside wins.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "agg")

# Many tests start the command anew on the same network. What one process has compiled, the others of this run take up; the next run starts with nothing.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": tempfile.mkdtemp(prefix="compiled-"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
    MADE_HERE = os.environ["JAX_COMPILATION_CACHE_DIR"]
else: MADE_HERE = ""

# A shell that starts this in the background has Ctrl-C ignored, and so would every command that is interrupted here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN: signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


def pytest_unconfigure():
    if MADE_HERE: shutil.rmtree(MADE_HERE, ignore_errors=True)


@pytest.fixture(scope="session")
def root() -> Path:
    "The checkout."
    return ROOT


@pytest.fixture(scope="session")
def samples() -> Path:
    "A folder of real samples in their published layouts (camvid, coco2017_mini, ...), which are not part of the repository."
    path = Path(os.environ.get("INNER_DETECTORS_SAMPLES") or ROOT.parent / "shared" / "data")
    if not path.is_dir(): pytest.skip(f"no samples of real data at {path}; INNER_DETECTORS_SAMPLES may name them")
    return path


def fetched(*place: str) -> Path:
    "A parameter file that `inner-detectors fetch` brings."
    path = Path(os.environ.get("INNER_DETECTORS_HOME") or ROOT / "pre-models").joinpath(*place)
    if not path.is_file(): pytest.skip(f"no weights at {path}; make weights fetches them")
    return path


@pytest.fixture(scope="session")
def vgg16_weights() -> Path:
    "VGG16's thirteen convolutions, as `inner-detectors fetch vgg16-conv` writes them."
    return fetched("vgg16", "vgg16_conv.safetensors")


@pytest.fixture(scope="session")
def lite0_weights() -> Path:
    "EfficientNet-Lite0, as `inner-detectors fetch efficientnet-lite0` writes it."
    return fetched("efficientnet-lite0", "efficientnet_lite0.safetensors")
