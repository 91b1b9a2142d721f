"""A score is an object: its value is what its definition says, files of earlier versions mean what they meant, and a
package of one file can bring another."""

import json
import sys
from dataclasses import asdict, replace
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sentences import assert_says

from inner_detectors.analyses.chance import Chance, chance
from inner_detectors.analyses.sensitivity import sensitivity, sensitivity_figure
from inner_detectors.analyses.verdict import verdict
from inner_detectors.cli.flags import command_of, parser
from inner_detectors.cli.match import match_command
from inner_detectors.cli.options import choose_protocol
from inner_detectors.core.errors import InputError
from inner_detectors.data.dataset import Data
from inner_detectors.data.sample import Region, Sample
from inner_detectors.data.vocabulary import Concept, Vocabulary
from inner_detectors.dissection.identity import differences, identity_of
from inner_detectors.dissection.protocol import netdissect, per_image, pnas
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.run import dissect
from inner_detectors.dissection.scores import find_score, known_scores
from inner_detectors.dissection.study import study
from inner_detectors.dissection.tables import write_tables
from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model
from inner_detectors.views.explorer.measuring import measure_agreement, threshold_scale, limits_at, score
from inner_detectors.views.explorer.material import material, shelf_of_network
from inner_detectors.views.figures import distribution_figure
from inner_detectors.views.front_page import protocol_words

SIDE = 20
MODEL = Model(
    "pixels",
    lambda _, images: {"red": images[..., :2]},  # how red, how green: a unit each
    size=SIDE,
    preprocess=lambda images: images.astype(jnp.float32),
    geometry={"red": half_pixel(SIDE, (SIDE, SIDE))},
)


class Shapes:
    "Images in which a unit lights some rows of the left, and a concept covers some rows."

    name, concepts = "shapes", Vocabulary([Concept("a", "object"), Concept("b", "object")])

    def __init__(self, *pictures):
        self.pictures = {str(place): rows for place, rows in enumerate(pictures)}
        self.keys = list(self.pictures)

    def sample(self, key):
        lit, covered = self.pictures[key]
        image, mask = np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((SIDE, SIDE), bool)
        image[slice(*lit), :10, 0], mask[slice(*covered)] = 255, True
        return Sample(key, image, (Region("a", mask),) if mask.any() else ())

    def identity(self):
        return {"rows": str(sorted(self.pictures.values()))}


ODD = {
    "silent": ((0, 0), (2, 6)),  # the unit lights nothing
    "full": ((3, 13), (0, 20)),  # the concept fills the image
    "apart": ((0, 4), (10, 12)),
    "within": ((5, 9), (4, 11)),
    "no concept": ((1, 8), (0, 0)),  # and a unit that is wrong about it
}
LIT = {name: 10 * (lit[1] - lit[0]) for name, (lit, _) in ODD.items()}
MASK = {name: 20 * (covered[1] - covered[0]) for name, (_, covered) in ODD.items()}
BOTH = {"silent": 0, "full": 100, "apart": 0, "within": 40, "no concept": 0}
BY_HAND = {  # of areas in one image, or of sums
    "iou": lambda both, lit, mask: Fraction(both, lit + mask - both),
    "mean-iou": lambda both, lit, mask: Fraction(both, lit + mask - both),
    "mean-dice": lambda both, lit, mask: Fraction(2 * both, lit + mask),
    "mean-f2": lambda both, lit, mask: Fraction(5 * both, lit + 4 * mask),
    "recall": lambda both, lit, mask: Fraction(both, mask),
}
HALF = replace(netdissect, mask_size=1.0, geometry="half-pixel", quantile=0.5)


def by_hand(name, names):
    "A score of the red unit and concept a over some of the odd images, from their areas."
    ratio = BY_HAND[name]
    if not name.startswith("mean"):
        return float(ratio(*(sum(areas[one] for one in names) for areas in (BOTH, LIT, MASK))))
    each = [ratio(BOTH[one], LIT[one], MASK[one]) for one in names if MASK[one]]
    return float(sum(Fraction(round(one * 2**32), 2**32) for one in each) / len(each))


def odd(*names):
    return Data([Shapes(*(ODD[name] for name in names))])


SOME = [tuple(ODD), ("full",), ("within", "silent"), ("apart", "no concept"), ("full", "full", "within", "no concept")]


@pytest.mark.parametrize("names", SOME, ids=" ".join)
@pytest.mark.parametrize("name", ["iou", "mean-iou", "mean-dice"])
def test_odd_pictures_by_hand(name, names):
    """To the bit: a silent unit, a concept that fills the image, images without it, several at once."""
    found = dissect(MODEL, odd(*names), ["red"], replace(HALF, score=name), progress=False)
    assert found.scores.values[0, 0] == by_hand(name, names)
    assert found.scores.values[0, 1] == 0 and (found.scores.values[1] == 0).all(), "a concept never shown; a dead unit"
    assert found.units()[find_score(name).column].tolist() == [by_hand(name, names), 0]
    assert len(found.detectors()) == find_score(name).detected(by_hand(name, names), find_score(name).bound)


def test_dice_and_iou_are_other_numbers():
    """Else the test above would not tell one from another; and means of one are no function of the other."""
    means = {name: [by_hand(name, names) for names in SOME] for name in ("iou", "mean-iou", "mean-dice")}
    assert all(dice > iou for dice, iou in zip(means["mean-dice"], means["mean-iou"]) if iou)
    assert len({tuple(some) for some in means.values()}) == 3


@pytest.mark.parametrize("names", SOME, ids=" ".join)
def test_uniform_chance_of_the_mean_dice(names):
    these = study(
        dissect(MODEL, odd(*names), ["red"], replace(HALF, score="mean-dice"), progress=False), MODEL, odd(*names)
    )
    found = chance(these, progress=False).table
    shares = [(Fraction(LIT[one], 400), Fraction(MASK[one], 400)) for one in names if MASK[one]]
    wanted = [Fraction(round(2 * a * p / (a + p) * 2**32), 2**32) for a, p in shares]
    assert float(found.uniform[0, 0]) == float(sum(wanted) / len(wanted))
    assert found.positional.isnull().all() and found.attrs["measure_title"] == "Dice"


# ---- files of earlier versions

EARLIER = {  # what version 0.1.0 wrote before scores had names, and the hash it gave a run by them
    "netdissect": "6c4e5572db66e4c5ed9cfdd859a67565c14b13b0fadf752c420f89c8ab9d7010",
    "per-image": "21e822cefdf4c490b976eb4b8b9b05d4e388bfcadeb9bd4e58d02f50d1de3cf2",
}


@pytest.mark.parametrize("protocol", [netdissect, per_image], ids=lambda protocol: protocol.name)
def test_a_run_is_known_as_before(protocol):
    about = json.loads(json.dumps({"model": "toy", "protocol": asdict(protocol), "version": "0.1.0"}))
    assert identity_of(about) == EARLIER[protocol.name] and "score_over" not in about["protocol"]
    older = {name: value for name, value in about["protocol"].items() if name != "score"}
    older = about | {"protocol": older | {"score_over": {"iou": "data", "mean-iou": "image"}[protocol.score]}}
    assert identity_of(older) == EARLIER[protocol.name] and not differences(about, older)
    other = about | {"protocol": about["protocol"] | {"score": "mean-dice"}}
    assert identity_of(other) != identity_of(about) and differences(about, other) == ["protocol"]


@pytest.mark.parametrize("protocol", [HALF, pnas, per_image], ids=lambda protocol: protocol.name)
def test_a_folder_of_an_earlier_version_is_finished(protocol, tmp_path, monkeypatch):
    """It opens with its labels, and the same run finds it: not one image is read again for its numbers."""
    data = odd("full", "within", "silent")
    made = dissect(MODEL, data, ["red"], replace(protocol, geometry="half-pixel"), tmp_path, progress=False)
    older = {name: value for name, value in asdict(made.protocol).items() if name != "score"}
    older |= {"score_over": {"iou": "data", "mean-iou": "image"}[made.protocol.score]}
    about = json.loads(made.table.attrs["about"]) | {"protocol": older}
    attributes = {"protocol": json.dumps(older), "about": json.dumps(about)}
    Dissection(made.table.assign_attrs(attributes)).save(tmp_path)
    read = Dissection.load(tmp_path)
    assert read.protocol == made.protocol and read.units().equals(made.units())
    monkeypatch.setattr("inner_detectors.dissection.run.sweep", None)
    again = dissect(MODEL, data, ["red"], made.protocol, tmp_path, progress=False)
    assert again.table.attrs["protocol"] == json.dumps(older) and again.detectors().equals(made.detectors())
    with pytest.raises(InputError) as said:
        dissect(MODEL, data, ["red"], replace(made.protocol, score="mean-dice"), tmp_path, progress=False)
    assert_says(said.value, tmp_path, "another run (other protocol)")


def test_older_words_decide_and_move_no_bound():
    assert replace(netdissect, score_over="image") == replace(netdissect, score="mean-iou", detects=0.04)
    assert replace(per_image, score_over="data") == replace(per_image, score="iou", detects=0.1)
    assert replace(per_image, score_over="image") == per_image
    assert [netdissect.score_over, per_image.score_over] == ["data", "image"], "what older code asks"
    dice = replace(netdissect, score="mean-dice")
    assert dice.score_over is None and dice.detects == 0.18 and replace(dice, quantile=0.1).score == "mean-dice"
    assert replace(dice, score="iou") == netdissect and "score_over" not in asdict(netdissect)


# ---- scores that packages bring

OWN = """
import numpy as np

from inner_detectors.dissection.scores import Means, MeanOfImages, OverData, Score, add_states
from inner_detectors.passes.fold import Fold


def f2(both, unit, concept):
    return 5 * both / np.maximum(unit + 4 * concept, 1)


mean_f2 = MeanOfImages(name="mean-f2", column="f2", title="F2", words="the mean F2 of images", ratio=f2, bound=0.3)
recall = OverData(
    name="recall", column="recall", title="recall", words="recall over the data set", bound=0.25, strict=True,
    ratio=lambda both, unit, concept: both / np.maximum(concept, 1),
)


class Best(Score):
    "A kind of its own: the best image alone."

    at_many = False

    def fold(self, pictures, sizes, annotated):
        def init():
            return Means(*(np.zeros(shape, np.int64) for shape in (tuple(sizes.values()), *[sizes["concept"]] * 2)))

        def step(state, batch):
            for one in pictures(batch):
                found = np.rint(self.ratio(one.both, one.unit, one.concept[:, None]) * 2**32).astype(np.int64)
                state.ratios[one.ids] = np.maximum(state.ratios[one.ids], found)
                state.concept_area[one.ids] += one.concept
                state.concept_images[one.ids] += 1
            return state

        def merge(a, b):
            return add_states(a, b)._replace(ratios=np.maximum(a.ratios, b.ratios))

        def result(state):
            axes = tuple(sizes)
            areas = {name: (axes[:1], getattr(state, name)) for name in ("concept_area", "concept_images")}
            return {self.column: (axes, state.ratios / 2**32), **areas}

        return Fold(init, step, merge, result)

    def values(self, table):
        return table[self.column].transpose("unit", "concept").values

    def of_images(self, both, unit, concept):
        return float(self.ratio(both, unit, concept)[concept > 0].max(initial=0))


best = Best(name="best", column="best", title="best IoU", words="the best IoU", bound=0.5, thresholds=("data",))
"""
BROKEN = "raise ImportError('no module named\\n  nowhere')"


@pytest.fixture
def install(tmp_path_factory, monkeypatch):
    "Lays a package where Python finds it: a module, and the entry points that an installer writes."

    def install(name, entries, **modules):
        folder = tmp_path_factory.mktemp("site")
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{word} = {place}" for word, place in entries.items()]
        (info / "entry_points.txt").write_text("\n".join(["[inner_detectors.scores]", *lines, ""]))
        for module, text in modules.items():
            (folder / f"{module}.py").write_text(text)
        monkeypatch.syspath_prepend(folder)
        return str(folder)

    yield install
    find_score.cache_clear()


@pytest.fixture
def own(install):
    names = {"mean-f2": "own_scores:mean_f2", "recall": "own_scores:recall", "best": "own_scores:best"}
    return install("own-scores", names, own_scores=OWN)


@pytest.mark.parametrize("name", ["mean-f2", "recall"])
def test_a_score_of_one_file_is_known_everywhere(own, name, tmp_path):
    """By its name in a protocol: numbers, tables, figures, chance, sensitivity, verdict, report, explorer, command."""
    names = ("full", "within", "apart", "no concept")
    protocol, column = replace(HALF, score=name), find_score(name).column
    data, wanted = odd(*names), by_hand(name, names)
    made = dissect(MODEL, data, ["red"], protocol, tmp_path, progress=False)
    assert made.scores.values[0].tolist() == [wanted, 0] and wanted > 0.2
    assert (
        made.protocol.detects == find_score(name).bound
        and json.loads(made.table.attrs["about"])["score_of"] == "own-scores 1.0"
    )
    write_tables(made, tmp_path)
    units = pd.read_csv(tmp_path / "units.csv")
    assert units[column][0] == pytest.approx(wanted, abs=1e-12) and ("intersection" in units) == (name == "recall")
    assert f"best_{column}" in pd.read_csv(tmp_path / "concepts.csv")
    assert f"a {wanted:.3f} (" in (tmp_path / "units.txt").read_text()
    these = study(Dissection.load(tmp_path), MODEL, data)
    levels = chance(these, tmp_path, progress=False)
    assert levels.units()[column][0] == wanted and Chance.load(tmp_path).table.attrs["measure"] == column
    assert levels.table.positional.notnull().all() == (name == "recall")
    shares = [(Fraction(LIT[one], 400), Fraction(MASK[one], 400)) for one in names if MASK[one]]
    if name == "mean-f2":
        uniform = sum(5 * a * p / (a + 4 * p) for a, p in shares) / len(shares)
    else:
        uniform = Fraction(sum(LIT[one] for one in names), 400 * len(names))  # the share of all pixels that are lit
    assert float(levels.table.uniform[0, 0]) == pytest.approx(float(uniform), abs=1e-9)
    curves = sensitivity(these, tmp_path, quantiles=[0.1, 0.4, 0.5], progress=False)
    for share in (0.1, 0.4):
        one = dissect(MODEL, data, ["red"], replace(protocol, quantile=share), progress=False)
        assert curves.iou("red:0").sel(quantile=share).values.tolist() == one.scores.values[0].tolist()
    assert f"best_quantile_{column}" in curves.units() and column in verdict(tmp_path)
    title = find_score(name).title
    assert title in sensitivity_figure(curves)[0].get_ylabel() and title in distribution_figure(made).get_xlabel()
    assert find_score(name).words in protocol_words(protocol, SIDE) and protocol.rule in protocol_words(protocol, SIDE)
    shelf = shelf_of_network(material(made, data, MODEL), "red", 1e8)
    both = measure_agreement(shelf, 0, 0)
    limits = limits_at(made, threshold_scale(made, shelf, 0).own, shelf.look(0, both.images.tolist()))
    assert score(both, limits, protocol.scoring) == wanted
    assert choose_protocol("per-image", score=name).scoring is find_score(name)
    assert name in parser(command_of(match_command)).format_help()


def test_another_kind_of_score(own, tmp_path):
    """A class of its own; what it is not defined for is said before anything is computed."""
    data = odd("full", "within", "apart")
    made = dissect(MODEL, data, ["red"], replace(HALF, score="best"), tmp_path, progress=False)
    assert made.scores.values[0, 0] == round(Fraction(40, 140) * 2**32) / 2**32  # of `within`; `full` has 100 of 400
    these = study(made, MODEL, data)
    shares = [(Fraction(LIT[one], 400), Fraction(MASK[one], 400)) for one in ("full", "within", "apart")]
    wanted = max(a * p / (a + p - a * p) for a, p in shares)
    assert float(chance(these, progress=False).table.uniform[0, 0]) == pytest.approx(float(wanted), abs=1e-9)
    with pytest.raises(InputError) as said:
        sensitivity(these, progress=False)
    assert_says(said.value, "score 'best' is not defined at many thresholds")
    with pytest.raises(InputError) as said:
        replace(per_image, score="best")
    assert_says(said.value, "score 'best' is not defined where threshold_over='image'", "Choose data")


def test_a_package_that_is_gone(own, tmp_path, monkeypatch):
    """Its result is one sentence, and no other suffers."""
    dissect(MODEL, odd("full"), ["red"], replace(HALF, score="mean-f2"), tmp_path, progress=False)
    monkeypatch.setattr("sys.path", [place for place in sys.path if place != own])
    find_score.cache_clear()
    with pytest.raises(InputError) as said:
        Dissection.load(tmp_path).units()
    assert_says(said.value, "no score 'mean-f2'", "'mean-iou'")
    assert dissect(MODEL, odd("full"), ["red"], HALF, progress=False).units().iou[0] == by_hand("iou", ["full"])


def test_bad_packages_are_refused_by_name(own, install):
    """One sentence each, only where the name is asked for; the others stay good, and ours are ours."""
    install("broken-scores", {"torn": "torn_scores:torn", "gone": "own_scores:gone"}, torn_scores=BROKEN)
    install(
        "more-scores",
        {"recall": "own_scores:recall", "iou": "own_scores:recall", "alias": "own_scores:mean_f2", "number": "math:pi"},
    )
    for name, *words in [
        ("torn", "of broken-scores", "ImportError: no module named nowhere", "Repair or uninstall it."),
        ("gone", "own_scores:gone", "AttributeError"),
        ("recall", "more-scores and own-scores bring one each"),
        ("alias", "calls itself 'mean-f2'"),
        ("number", "math:pi is a float, not of type Score"),
        ("mean-f3", "no score 'mean-f3'", "'mean-f2'"),
    ]:
        with pytest.raises(InputError) as said:
            replace(HALF, score=name)
        assert_says(said.value, f"score {name!r}", *words)
    assert {"torn", "recall", "mean-f2"} < set(known_scores)
    assert replace(HALF, score="mean-f2").measure == "f2" and replace(HALF, score="iou").measure == "iou"
    with pytest.raises(InputError) as said:
        choose_protocol("netdissect", score="iou")
    assert_says(said.value, "inner-detectors and more-scores bring one each")
    assert choose_protocol("netdissect") == netdissect


@pytest.mark.parametrize("column", ["threshold", "unit", "two words", ""])
def test_a_column_that_is_anothers_is_refused(column):
    with pytest.raises(InputError) as said:
        replace(find_score("mean-dice"), column=column)
    assert_says(said.value, "score 'mean-dice'", repr(column), "Choose another")


def test_names_in_the_help_are_those_there_are():
    help = parser(command_of(match_command)).format_help()
    assert "iou, mean-iou or mean-dice; not given" in " ".join(help.split()) and [*known_scores.built_in] == [
        "iou",
        "mean-iou",
        "mean-dice",
    ]
