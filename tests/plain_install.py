"""What an installation without extras must do: dissect, hold against chance, draw, open the explorer, and name the extra
that is missed.

    python tests/plain_install.py FOLDER

in an environment of `pip install .` alone, with VGG16's convolutions where INNER_DETECTORS_HOME says. test_extras.py runs
it where the extras are installed and hidden."""

import sys
from pathlib import Path

from inner_detectors import Dissection, Explorer, InputError, load_data, load_model
from inner_detectors.analyses.occlusion import check_fill
from inner_detectors.cli.main import run
from inner_detectors.views.figures import layers_figure


def sentence(refused, *given):
    "What is said of something that cannot be done."
    try:
        refused(*given)
    except InputError as error:
        return str(error)
    raise AssertionError(f"{given} was not refused")


def main(folder):
    out = folder / "run"
    assert run(["match", "vgg16", "--data", "scenes:4", "--layers", "pool3", "--out", str(out), "--quiet"]) == 0
    assert run(["chance", str(out), "--quiet"]) == 0
    assert (out / "chance.nc").is_file() and (out / "layers.png").stat().st_size > 1000
    found = Dissection.load(out)
    layers_figure(found).figure.savefig(folder / "layers.pdf")
    assert (folder / "layers.pdf").read_bytes().startswith(b"%PDF")
    explorer = Explorer(out, load_data("scenes:4"), load_model("vgg16"))
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()
    (folder / "net.onnx").write_bytes(b"\x08\x08" + bytes(20))
    for said, item, extra in (
        (sentence(load_model, str(folder / "net.onnx")), "net.onnx: needs onnx", "onnx"),
        (sentence(load_model, "vgg16", str(folder / "net.onnx")), "net.onnx: needs onnx", "onnx"),
        (sentence(check_fill, "inpaint"), "fill 'inpaint': needs skimage", "inpaint"),
    ):
        assert item in said and said.endswith(f"Install it: pip install 'inner-detectors[{extra}]'."), said
    hidden = {"onnx", "onnxruntime", "skimage", "torch", "nbdev", "pytest", "beartype"} & sys.modules.keys()
    assert not {name for name in hidden if sys.modules[name]}, hidden


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    print("all of it works without extras")
