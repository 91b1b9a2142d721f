"""The published Network Dissection tables, put through the function that summarises our own: the published counts must
come out."""

import numpy as np
import pandas as pd
import pytest

from inner_detectors.dissection.detectors import best_of_all, read_netdissect, summarise

ALEXNET = "CSAILVision_NetDissect_plot/caffe_reference_imagenet.csv"
RESNET = "CSAILVision_NetDissect_plot/ResNet-152-model_imagenet.csv"
TABLES = 13  # csv files in the folder, at least


@pytest.fixture(scope="module")
def folder(samples):
    """The published tables."""
    path = samples / "netdissect_results"
    if not path.is_dir():
        pytest.skip(f"no published tables at {path}")
    return path


def counts(labels, rule):
    """(units, detectors, {category: unique concepts}) under one counting rule."""
    found = summarise(labels).query("rule == @rule").set_index("category")
    return int(found.units["all"]), int(found.detectors["all"]), found["unique"].to_dict()


def test_alexnet(folder):
    labels = read_netdissect(folder / ALEXNET)
    units, detectors, by_best = counts(labels, "best-label")
    assert (units, detectors, by_best["all"]) == (256, 97, 50)
    assert counts(labels, "per-category") == (
        256,
        97,
        {"object": 21, "part": 8, "scene": 4, "material": 1, "texture": 23, "colour": 4, "all": 61},
    )


def test_resnet(folder):
    labels = read_netdissect(folder / RESNET)
    units, detectors, by_best = counts(labels, "best-label")
    assert (units, detectors, by_best["all"]) == (2048, 1325, 197)
    assert counts(labels, "per-category")[2]["all"] == 242


def test_every_table_gives_the_best_labels_that_it_lists_itself(folder):
    """Each row of a table ends in the unit's best concept by its own making; ours is found from the categories'
    columns."""
    paths = sorted(folder.rglob("*.csv"))
    assert len(paths) >= TABLES
    for path in paths:
        own = pd.read_csv(path, keep_default_na=False).set_index("unit").sort_index()
        found = best_of_all(read_netdissect(path, path.stem)).set_index("index").sort_index()
        assert (found.layer == path.stem).all() and (found.index == own.index - 1).all(), path
        assert found.unit.tolist() == [f"{path.stem}:{number - 1}" for number in own.index]
        np.testing.assert_allclose(found.iou, own.score, rtol=1e-6, err_msg=str(path))
        differ = own.label.to_numpy() != found.concept.to_numpy()
        assert not differ.any(), f"{path}: {own[differ].label.tolist()} {found[differ].concept.tolist()}"
        assert (found.category.to_numpy() == own.category.replace("color", "colour").to_numpy()).all(), path


def test_tables_that_lack_a_category_or_a_label(folder):
    few = read_netdissect(folder / "makiit_NetDissect-Lite_no_material" / "tally.csv")
    assert set(few.category) == {"colour", "object", "part", "scene", "texture"} and (few.concept == "").sum() == 4
    assert counts(few, "best-label") == (
        10,
        9,
        {"colour": 0, "object": 2, "part": 0, "scene": 4, "texture": 2, "all": 8},
    )
    one = read_netdissect(folder / "philipclaesson_resnet18_places365_objects_only" / "tally.csv")
    assert set(one.category) == {"object"} and one.unit.nunique() == 512
    assert counts(one, "per-category") == (512, 0, {"object": 0, "all": 0}), "no unit's IoU is above 0.04"


def test_the_order_of_columns_and_rows_changes_no_count(folder, tmp_path):
    table = pd.read_csv(folder / ALEXNET, keep_default_na=False)
    table.iloc[::-1, ::-1].to_csv(tmp_path / "turned.csv", index=False)
    one, other = read_netdissect(folder / ALEXNET), read_netdissect(tmp_path / "turned.csv")
    for rule in ("best-label", "per-category"):
        assert counts(one, rule) == counts(other, rule)
