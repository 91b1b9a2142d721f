"""On real photographs: our counts against those of an independent implementation in PyTorch, which was written from the
definitions."""

import os

import numpy as np
import pytest

from inner_detectors.dissection.run import dissect
from inner_detectors.networks.registry import load_model
from inner_detectors.data.readers.registry import load_data

SLOW = pytest.mark.skipif(
    os.environ.get("INNER_DETECTORS_SLOW") != "1", reason="takes minutes; INNER_DETECTORS_SLOW=1 runs it"
)


def expected(samples, name):
    """The independent counts."""
    path = samples.parent / "expected" / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"no independent counts at {path}")
    with np.load(path) as read:
        return {key: read[key] for key in read.files}


def photographs(samples, folder, split):
    """A COCO folder of the samples."""
    if not (samples / folder).is_dir():
        pytest.skip(f"no photographs at {samples / folder}")
    return load_data(f"coco:{samples / folder}:{split}")


def compare(data, model, theirs, detectors):
    """Dissect the layers that `detectors` names: concept areas are equal, IoUs close, and as many units detect
    something."""
    found = dissect(model, data, list(detectors), progress=False)
    table = found.table
    assert table.concept.values.tolist() == theirs["categories"].tolist()
    np.testing.assert_array_equal(table.concept_area, theirs["concept_area"])
    assert table.attrs["problems"] == "[]" and table.attrs["images"] == len(data)
    for layer, number in detectors.items():
        both, on_area = theirs[f"{layer}/intersection"], theirs[f"{layer}/unit_area"][:, None]
        iou = both / np.maximum(on_area + theirs["concept_area"] - both, 1)
        mine = found.scores.values[table.layer == layer]
        assert np.quantile(abs(mine - iou), 0.99) < 0.001, layer
        np.testing.assert_allclose(
            table.threshold[table.layer == layer], theirs[f"{layer}/threshold"], rtol=1e-4, atol=1e-4, err_msg=layer
        )
        assert (mine.max(1) > 0.04).sum() == (iou.max(1) > 0.04).sum() == number, layer
        clear = np.sort(iou, 1)[:, -1] - np.sort(iou, 1)[:, -2] > 0.001
        assert (mine.argmax(1) == iou.argmax(1))[clear].all() and clear.mean() > 0.4, layer


@SLOW
@pytest.mark.slow
@pytest.mark.parametrize("detectors", [{"conv5_3": 81, "pool5": 70}, {"conv4_3": 60}], ids=",".join)
def test_vgg16_on_camvid(samples, vgg16_weights, detectors):
    theirs = expected(samples, "vgg16-camvid-val")
    compare(photographs(samples, "camvid", "val"), load_model("vgg16", vgg16_weights), theirs, detectors)


@SLOW
@pytest.mark.slow
def test_vgg16_on_coco(samples, vgg16_weights):
    theirs = expected(samples, "vgg16-coco2017_mini-val")
    compare(
        photographs(samples, "coco2017_mini", "val2017"),
        load_model("vgg16", vgg16_weights),
        theirs,
        {"conv4_3": 52, "conv5_3": 342, "pool5": 379},
    )


@pytest.mark.parametrize(
    "folder, split, file, detectors",
    [
        ("camvid", "val", "camvid-val", [0, 0, 19, 157]),
        pytest.param("coco2017_mini", "val2017", "coco2017_mini-val", [1, 5, 259, 415], marks=[SLOW, pytest.mark.slow]),
    ],
)
def test_efficientnet_lite0(samples, lite0_weights, folder, split, file, detectors):
    theirs = expected(samples, f"efficientnet-lite0-{file}")
    compare(
        photographs(samples, folder, split),
        load_model("efficientnet-lite0", lite0_weights),
        theirs,
        dict(zip(("blocks_4", "blocks_10", "blocks_15", "head"), detectors, strict=True)),
    )
