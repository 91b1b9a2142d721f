"""A hundred thresholds from one run: each gives what a run of `dissect` with that quantile gives, whatever the batch,
and wherever it was stopped."""

import functools
import warnings
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sentences import assert_says

from inner_detectors.analyses import levels as room
from inner_detectors.core.errors import InputError
from inner_detectors.data.dataset import Data
from inner_detectors.dissection.protocol import netdissect, per_image, pnas
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.study import Study, study
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model, geometry_of
from inner_detectors.passes.interpolation import enlarge_slowly, sampling_grid
from inner_detectors.passes.probe import probe
from inner_detectors.synthetic.scenes import Scenes
from inner_detectors.analyses.levels import quantile_grid
from inner_detectors.analyses.sensitivity import (
    Sensitivity,
    sensitivity_curve_figure,
    sensitivity_memory,
    sensitivity,
    sensitivity_figure,
)
from inner_detectors.passes.batches import batches

TEN = [0.0007, 0.002, 0.005, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.9]
COUNTS = ["intersection", "unit_area", "score", "dice", "threshold", "concept_area", "concept_images"]


def forward(_, images):
    """Two layers of different grids, exact whatever the batch; the last unit of `rough` is dead, the last of `fine`
    nearly so."""
    fine, rough = (images.reshape(-1, cells, 64 // cells, cells, 64 // cells, 3).max((2, 4)) for cells in (16, 4))
    return {
        "fine": jnp.concatenate([fine - fine.min(-1, keepdims=True), jnp.maximum(fine[..., :1] - 0.9, 0)], -1),
        "rough": jnp.concatenate([rough, 1 - rough, 0 * rough[..., :1]], -1),
    }


TOY = Model("toy", forward, size=64, geometry={"fine": half_pixel(64, (16, 16)), "rough": half_pixel(64, (4, 4))})
DATA = Data([Scenes(10, size=64)])


@functools.cache
def made(protocol=netdissect, batch=4, out=None) -> Study:
    """A dissection of the toy, as later rooms start from it."""
    return study(dissect(TOY, DATA, ["rough", "fine"], protocol, out, batch=batch, progress=False), TOY, DATA, batch)


def at(table, name, share):
    """A variable at one quantile."""
    return table[name].sel(quantile=share) if "quantile" in table[name].dims else table[name]


# ---- the same numbers

MIXED = replace(netdissect, name="mixed", score="mean-iou")
TURNED = replace(per_image, name="turned", score="iou", maskless="kept")
DICE = replace(per_image, name="dice", score="mean-dice")
DICE_OF_DATA = replace(netdissect, name="dice, one threshold", score="mean-dice")


@pytest.mark.parametrize(
    "protocol", [netdissect, pnas, per_image, MIXED, TURNED, DICE, DICE_OF_DATA], ids=lambda protocol: protocol.name
)
def test_equals_runs_of_dissect(protocol):
    """At every one of ten quantiles, every number."""
    found = sensitivity(made(protocol), quantiles=TEN, progress=False).table
    assert found.sizes["quantile"] == 10
    for share in TEN if protocol.name in ("netdissect", "per-image") else TEN[::5]:
        one = dissect(TOY, DATA, ["rough", "fine"], replace(protocol, quantile=share), batch=4, progress=False).table
        for name in COUNTS:
            assert (name in one) == (name in found)
            if name in one:
                np.testing.assert_array_equal(at(found, name, share), one[name], err_msg=f"{name} at {share}")


@pytest.mark.parametrize("protocol", [netdissect, per_image], ids=lambda protocol: protocol.name)
def test_any_batch_size(protocol):
    """Of ten images, the last batch holds two, or one."""
    one, other = (sensitivity(made(protocol, batch), quantiles=TEN, progress=False).table for batch in (4, 3))
    for name in one.variables:
        np.testing.assert_array_equal(one[name], other[name], err_msg=str(name))


def slowly(protocol, share):
    """IoU or score [unit, concept] by the definitions: NumPy, one image and one unit after another."""
    pictures = [
        (batch, row)
        for _, batch, _ in batches(DATA, replace(made(protocol).view, batch=1))
        for row in range(batch.filled)
    ]
    look = probe(TOY, ["rough", "fine"])
    looked = [look(batch.images) for batch, _ in pictures]
    both, area, truth, ratios = [], [], np.zeros(len(DATA.concepts)), []
    dice = protocol.score == "mean-dice"
    for name in ("rough", "fine"):
        maps = [np.asarray(one[name])[0] for one in looked]
        side = pictures[0][0].masks.shape[-1]
        lines = sampling_grid(geometry_of(TOY, name), maps[0].shape[:2], 64, side)
        whole = np.quantile(np.stack(maps), 1 - share, axis=(0, 1, 2), method="linear").astype(np.float32)
        sums, areas, means = (np.zeros((maps[0].shape[-1], len(DATA.concepts))) for _ in range(3))
        for (batch, row), own in zip(pictures, maps):
            limit = whole if protocol.threshold_over == "data" else np.percentile(own, 100 * (1 - share), axis=(0, 1))
            on = enlarge_slowly(own, *lines) > limit
            areas += on.sum((0, 1))[:, None]
            for concept, mask in zip(batch.concepts[row], batch.masks[row]):
                if concept < 0:
                    continue
                inside = (on & mask[..., None]).sum((0, 1))
                sums[:, concept] += inside
                areas_here = on.sum((0, 1)) + mask.sum()
                means[:, concept] += 2 * inside / areas_here if dice else inside / (areas_here - inside)
                if name == "rough":
                    truth[concept] += mask.sum()
        both.append(sums)
        area.append(areas)
        ratios.append(means)
    if protocol.score == "iou":
        both, area = np.concatenate(both), np.concatenate(area)
        return both / np.maximum(area + truth - both, 1)
    shown = np.zeros(len(DATA.concepts))
    for batch, row in pictures:
        shown[batch.concepts[row][batch.concepts[row] >= 0]] += 1
    return np.concatenate(ratios) / np.maximum(shown, 1)


@pytest.mark.parametrize("protocol", [netdissect, per_image, DICE, DICE_OF_DATA], ids=lambda protocol: protocol.name)
def test_equals_the_definition(protocol):
    """Against NumPy without strips, regions or levels."""
    found = sensitivity(made(protocol), quantiles=TEN, progress=False)
    for place, share in list(enumerate(found.quantiles))[2::3]:
        mine = np.stack([found.iou(unit).values[:, place] for unit in found.table.unit.values])
        np.testing.assert_allclose(mine, slowly(protocol, share), rtol=0, atol=1e-9)
        assert mine.max() > 0


def test_fewer_units_and_concepts():
    """What is asked for alone has the numbers that it has among all."""
    these = made()
    whole = sensitivity(these, progress=False)
    few = sensitivity(these, units=["fine:3", "rough:0"], concepts=["sky", "brown"], progress=False)
    assert few.table.unit.values.tolist() == ["rough:0", "fine:3"]
    for unit in few.table.unit.values:
        assert few.iou(unit).equals(whole.iou(unit).sel(concept=["sky", "brown"]))
    assert sensitivity_memory(these, units=["fine:3"])["thresholds_mb"] <= sensitivity_memory(these)["thresholds_mb"]


def test_many_masks_at_once():
    """Masks that cut an image into more regions than are told apart at once, and no mask at all."""
    random = np.random.default_rng(1)
    for shown in (0, 1, 5, 6, 31, 70):
        masks = random.random((shown, 12, 12)) > 0.5
        codes, holds = room.regions(masks)
        for number, mask in enumerate(masks):
            assert np.array_equal(sum(hold[number][code].astype(int) for code, hold in zip(codes, holds)), mask)
        assert holds[0, -1].all() and not holds[1:, -1].any()


# ---- what is read off


def test_labels_and_peaks():
    """The protocol's quantile gives the dissection's labels and detectors; the best quantile is the curve's peak; dead
    units have none."""
    these = made()
    found = sensitivity(these, progress=False)
    units = found.units()
    assert units.label.tolist() == these.dissection.units().concept.tolist()
    counted = these.dissection.summary().query("rule == 'best-label' and category == 'all'")
    assert found.summary().query("quantile == 0.005").detectors.tolist() == counted.detectors.tolist()
    for row, unit in zip(units.itertuples(), found.table.unit.values):
        curves = found.iou(unit)
        if row.label:
            assert row.best_quantile == curves["quantile"].values[int(curves.sel(concept=row.label).values.argmax())]
            assert (
                row.best_quantile_iou == float(curves.sel(concept=row.label).max())
                and found.curves(unit).columns[0] == row.label
            )
        assert row.best_label_iou == float(curves.max()) and (not row.best_label) == (float(curves.max()) == 0)
    dead = units[units.unit == "rough:6"].iloc[0]
    assert (
        bool(found.table.dead.sel(unit="rough:6"))
        and dead.label == dead.best_label == ""
        and np.isnan(dead.best_quantile)
    )
    assert found.curves("rough:6").shape == (len(found.quantiles), 0)
    assert "Sensitivity(toy on scenes: 11 units" in repr(found) and repr(found).split(":")[0] in found._repr_html_()


def test_the_grid():
    """Logarithmic, a hundred or so, and the protocol's own always among them."""
    for own in (0.005, 0.0123, 0.5, 0.77):
        some = quantile_grid(own)
        assert own in some and 100 <= len(some) <= 101 and some == sorted(some) and some[0] == 0.0005


def test_figures():
    """Both are drawn, for a dead unit, too."""
    found = sensitivity(made(), progress=False)
    for unit in ("fine:0", "rough:6"):
        assert sensitivity_curve_figure(found, unit).figure.get_suptitle().startswith(f"{unit};")
    upper, lower = sensitivity_figure(found)
    assert [line.get_label() for line in upper.lines[:2]] == ["rough", "fine"] and "detectors" in lower.get_ylabel()


# ---- saved, stopped, started again


class Stopped(Exception):
    "What a test throws."


def stopping(after):
    """`regions`, until it has been called so often."""
    calls, cut = 0, room.regions

    def regions(*some):
        nonlocal calls
        calls += 1
        if calls > after:
            raise Stopped
        return cut(*some)

    return regions


@pytest.mark.parametrize("protocol", [netdissect, per_image], ids=lambda protocol: protocol.name)
def test_stopped_while_it_counts(protocol, tmp_path, monkeypatch, capsys):
    """What was counted before is not counted again, and nothing is lost."""
    these = made(protocol, 4, tmp_path)
    whole = sensitivity(these, quantiles=TEN, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(room, "regions", stopping(5))  # in the second batch of three
        with pytest.raises(Stopped):
            sensitivity(these, tmp_path, quantiles=TEN, every=0, progress=False)
    assert (tmp_path / "sensitivity.levels.checkpoint.npz").exists()
    again = sensitivity(these, tmp_path, quantiles=TEN, every=0, progress=False)
    assert "going on at image 4," in capsys.readouterr().err
    assert again.table.equals(whole.table) and Sensitivity.load(tmp_path, these.dissection).table.equals(whole.table)
    assert not list(tmp_path.glob("*.checkpoint.npz"))


def test_stopped_while_it_finds_thresholds(tmp_path, monkeypatch, capsys):
    """The first sweep goes on, too."""
    these = made(netdissect, 4, tmp_path)
    whole, calls, take_in = sensitivity(these, quantiles=TEN, progress=False), [], room.add_block

    def taking(*values):
        calls.append(1)
        if len(calls) > 13:
            raise Stopped
        return take_in(*values)

    with monkeypatch.context() as patch:
        patch.setattr(room, "add_block", taking)
        with pytest.raises(Stopped):
            sensitivity(these, tmp_path, quantiles=TEN, every=0, progress=False)
    again = sensitivity(these, tmp_path, quantiles=TEN, every=0, progress=False)
    assert "thresholds: going on at image 4," in capsys.readouterr().err and again.table.equals(whole.table)


def test_finished_is_read_and_not_run(tmp_path, monkeypatch):
    """The same call again reads; other choices are refused there, naming them, and nothing is lost; units.csv has the
    columns of all units alone."""
    these = made(out=tmp_path)
    first = sensitivity(these, tmp_path, quantiles=TEN, progress=False)
    assert {"best_quantile", "best_quantile_iou"} <= set(pd.read_csv(tmp_path / "units.csv").columns)
    with monkeypatch.context() as patch:
        patch.setattr(room, "regions", stopping(0))
        assert sensitivity(these, tmp_path, quantiles=TEN[::-1], progress=False).table.equals(first.table)
        with pytest.raises(InputError) as said:
            sensitivity(these, tmp_path, quantiles=[0.02, *TEN[1:]], progress=False)
        assert_says(said.value, tmp_path / "sensitivity.nc", "other choices (quantiles)", "Delete it")
    (tmp_path / "sensitivity.nc").unlink()
    sensitivity(these, tmp_path, quantiles=TEN, concepts=["grass"], progress=False)
    assert "best_quantile" not in pd.read_csv(tmp_path / "units.csv").columns


# ---- refused


@pytest.mark.parametrize(
    "choices, words",
    [
        (dict(quantiles=[0.1, 1.0]), ["quantile 1.0", "between 0 and 1"]),
        (dict(quantiles=[-0.1]), ["quantile -0.1"]),
        (dict(quantiles=[float("nan")]), ["quantile nan"]),
        (dict(quantiles=[]), ["no quantile was given"]),
        (dict(units=["fine:99"]), ["no unit 'fine:99'"]),
        (dict(units=[]), ["no unit was given"]),
        (dict(concepts=["skye"]), ["no concept 'skye'", "'sky'"]),
        (dict(concepts=[]), ["no concept was given"]),
    ],
    ids=lambda some: " ".join(map(str, some)) if isinstance(some, dict) else "",
)
def test_bad_choices(choices, words):
    """One sentence, before anything is computed."""
    with pytest.raises(InputError) as said:
        sensitivity(made(), progress=False, **choices)
    assert_says(said.value, *words)


def test_folders_of_others(tmp_path):
    """A folder of another dissection, one whose file was damaged, one with nothing in it."""
    mine, other = made(out=tmp_path / "mine"), made(pnas, out=tmp_path / "other")
    sensitivity(mine, tmp_path / "mine", quantiles=[0.1], progress=False)
    with pytest.raises(InputError) as said:
        sensitivity(other, tmp_path / "mine", progress=False)
    assert_says(said.value, tmp_path / "mine", "another dissection")
    with pytest.raises(InputError) as said:
        Sensitivity.load(tmp_path / "mine", other.dissection)
    assert_says(said.value, "another dissection")
    path = tmp_path / "mine" / "sensitivity.nc"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError) as said:
        sensitivity(mine, tmp_path / "mine", quantiles=[0.1], progress=False)
    assert_says(said.value, path, "Delete it")
    with pytest.raises(InputError) as said:
        Sensitivity.load(tmp_path / "other")
    assert_says(said.value, "sensitivity.nc", "Run")


def test_quantiles_too_near_each_other():
    """Thresholds in the wrong order would make levels meaningless."""
    limits = np.float32([[3, 3], [2, 3.5]])
    with pytest.raises(InputError) as said:
        room.check_distinct("fine", limits, [0.1, 0.2])
    assert_says(said.value, "'fine'", "0.1 and 0.2")


def test_thresholds_of_another_run():
    """A dissection with borrowed thresholds: said, since its own scores are not on the curves."""
    lender = dissect(TOY, Data([Scenes(10, seed=5, size=64)]), ["rough", "fine"], progress=False)
    borrowing = dissect(TOY, DATA, ["rough", "fine"], batch=4, progress=False, thresholds=lender)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        sensitivity(study(borrowing, TOY, DATA, 4), quantiles=TEN, progress=False)
    assert any("another run" in str(one.message) for one in seen)
