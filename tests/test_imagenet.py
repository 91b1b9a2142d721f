"""ImageNet's classes and the concepts that they are cases of: every name of COCO's and VOC's by hand, the table against
its source, and strange names."""

import hashlib
import importlib.util
import os
import re
from importlib import resources
from pathlib import Path

import pytest
from sentences import assert_says

from inner_detectors.analyses.choices import class_groups
from inner_detectors.core.errors import InputError
from inner_detectors.data.vocabulary import Concept, Vocabulary, standard_name
from inner_detectors.analyses.imagenet import (
    MEANINGS,
    are_imagenet,
    as_ranges,
    chains,
    class_synsets,
    class_titles,
    classes_below,
    classes_of_concept,
    compare,
    concepts_of,
    find_concept,
    match_vocabulary,
    synsets,
)
from inner_detectors.networks.building import class_names
from inner_detectors.data.readers.voc import VOC_CLASSES

ROOT = Path(__file__).resolve().parent.parent
TABLE = resources.files("inner_detectors").joinpath("imagenet_wordnet.tsv")

# Written by hand, from the names of the classes: as COCO spells its eighty names.
COCO = {
    "person": "ballplayer, groom, scuba diver",
    "bicycle": "bicycle-built-for-two, mountain bike, tricycle, unicycle",
    "car": "beach wagon, cab, convertible, jeep, limousine, minivan, Model T, racer, sports car",
    "motorcycle": "moped, motor scooter",
    "airplane": "airliner, warplane",
    "bus": "minibus, school bus, trolleybus",
    "train": "bullet train, electric locomotive, freight car, passenger car, steam locomotive",
    "truck": "fire engine, garbage truck, moving van, pickup, police van, tow truck, trailer truck",
    "boat": "aircraft carrier, canoe, catamaran, container ship, fireboat, gondola, lifeboat, liner, pirate, schooner, "
    "speedboat, submarine, trimaran, "
    "wreck, yawl",
    "traffic light": "traffic light",
    "fire hydrant": "",
    "stop sign": "",
    "parking meter": "parking meter",
    "bench": "park bench",
    "bird": 59,
    "cat": "tabby, tiger cat, Persian cat, Siamese cat, Egyptian cat",
    "dog": 118,
    "horse": "sorrel",
    "sheep": "ram, bighorn",
    "cow": "ox",
    "elephant": "Indian elephant, African elephant",
    "bear": "brown bear, American black bear, ice bear, sloth bear",
    "zebra": "zebra",
    "giraffe": "",
    "backpack": "backpack",
    "umbrella": "umbrella",
    "handbag": "",
    "tie": "bolo tie, bow tie, Windsor tie",
    "suitcase": "",
    "frisbee": "",
    "skis": "ski",
    "snowboard": "",
    "sports ball": "baseball, basketball, croquet ball, golf ball, ping-pong ball, rugby ball, soccer ball, tennis "
    "ball, volleyball",
    "kite": "",
    "baseball bat": "",
    "baseball glove": "",
    "skateboard": "",
    "surfboard": "",
    "tennis racket": "",
    "bottle": "beer bottle, pill bottle, pop bottle, water bottle, water jug, whiskey jug, wine bottle",
    "wine glass": "",
    "cup": "coffee mug",
    "fork": "",
    "knife": "cleaver, letter opener",
    "spoon": "wooden spoon",
    "bowl": "mixing bowl, soup bowl",
    "banana": "banana",
    "apple": "Granny Smith",
    "sandwich": "cheeseburger",
    "orange": "orange",
    "broccoli": "broccoli",
    "carrot": "",
    "hot dog": "hotdog",
    "pizza": "pizza",
    "donut": "",
    "cake": "",
    "chair": "barber chair, folding chair, rocking chair, throne",
    "couch": "studio couch",
    "potted plant": "",
    "bed": "four-poster",
    "dining table": "dining table",
    "toilet": "",
    "tv": "monitor, screen, television",
    "laptop": "laptop, notebook",
    "mouse": "mouse",
    "remote": "remote control",
    "keyboard": "computer keyboard",
    "cell phone": "cellular telephone",
    "microwave": "microwave",
    "oven": "rotisserie",
    "toaster": "toaster",
    "sink": "washbasin",
    "refrigerator": "refrigerator",
    "book": "",
    "clock": "analog clock, digital clock, wall clock",
    "vase": "vase",
    "scissors": "",
    "teddy bear": "teddy",
    "hair drier": "hand blower",
    "toothbrush": "",
}
# As VOC spells its twenty, and COCO's name for each.
VOC = dict(
    zip(
        VOC_CLASSES,
        (
            "airplane",
            "bicycle",
            "bird",
            "boat",
            "bottle",
            "bus",
            "car",
            "cat",
            "chair",
            "cow",
            "dining table",
            "dog",
            "horse",
            "motorcycle",
            "person",
            "potted plant",
            "sheep",
            "couch",
            "train",
            "tv",
        ),
    )
)


def words(*names, category="object"):
    return Vocabulary(Concept(name, category) for name in names)


def test_coco_has_eighty_names():
    assert len(COCO) == 80


@pytest.mark.parametrize("name", COCO)
def test_every_name_of_coco(name):
    found = [class_titles()[place] for place in classes_of_concept(name)]
    assert len(found) == COCO[name] if isinstance(COCO[name], int) else ", ".join(found) == COCO[name]


@pytest.mark.parametrize("name", VOC)
def test_every_name_of_voc(name):
    assert classes_of_concept(name) == classes_of_concept(VOC[name]) == classes_of_concept(standard_name(name, "voc"))


def test_a_class_is_one_concept_of_coco_at_most():
    named = concepts_of(class_names(), words(*COCO))
    assert max(map(len, named.values())) == 1 and len(named) == 1000
    assert sum(map(len, named.values())) == sum(len(classes_of_concept(name)) for name in COCO)


def test_groups_are_those_in_use():
    "As `unit-removal --groups` reads them."
    assert class_groups([f"dogs={as_ranges(classes_of_concept('dog'))}"]) == {"dogs": list(range(151, 269))}
    birds = [*range(7, 25), *range(80, 101), *range(127, 147)]
    assert (
        class_groups([f"birds={as_ranges(classes_of_concept('bird'))}"])
        == class_groups(["birds=7-24,80-100,127-146"])
        == {"birds": birds}
    )


@pytest.mark.parametrize("places", [[], [5], [1, 2, 3], [9, 1, 3, 2, 9], list(range(0, 40, 2))])
def test_ranges_can_be_read_again(places):
    read = class_groups([f"x={as_ranges(places)}"])["x"] if places else []
    assert read == sorted(set(places))


@pytest.mark.parametrize(
    "name, told",
    [
        ("crane", ("crane.n.04", "crane.n.05")),
        ("bow", ("bow.n.04",)),
        ("plant", ("plant.n.01", "plant.n.02")),
        ("maillot", ("maillot.n.01", "maillot.n.02")),
    ],
)
def test_an_ambiguous_name_is_told_and_not_guessed(name, told):
    found = find_concept(name)
    assert (found.outcome, found.synsets, found.classes) == ("ambiguous", told, ())
    with pytest.raises(InputError) as refusal:
        classes_of_concept(name)
    assert_says(refusal.value, *told, "senses=")
    assert (
        classes_of_concept(name, {name: told[0]}) == classes_of_concept(told[0])
        and classes_of_concept(name, {name: ()}) == ()
    )
    assert not any(concepts_of(class_names(), words(name)).values())


@pytest.mark.parametrize("name", ["bat", "fork", "no such thing", "kite"])
def test_a_name_without_classes(name):
    assert classes_of_concept(name) == () and match_vocabulary(words(name)).of("no class") == [name]


def test_a_colour_a_material_and_a_part_are_no_things():
    some = Vocabulary(
        [
            Concept("orange", "colour"),
            Concept("velvet", "material"),
            Concept("zebra", "texture"),
            Concept("dog", "object"),
            Concept("dog/ear", "part", "dog"),
            Concept("ear", "object", "dog"),
        ]
    )
    assert match_vocabulary(some).of("no thing") == [
        "orange",
        "velvet",
        "zebra",
        "dog/ear",
        "ear",
    ] and match_vocabulary(some).of("mapped") == ["dog"]


def test_senses():
    assert match_vocabulary(words("mouse"), {"mouse": ["mouse.n.04"]}).of("mapped") == ["mouse"]
    assert classes_of_concept("truck", {"truck": "truck.n.01"}) == tuple(sorted((*classes_of_concept("truck"), 656)))
    assert classes_of_concept("kite", {"kite": "kite.n.04"}) == (21,)
    for senses, word in (
        ({"dgo": "dog.n.01"}, "Did you mean 'dog'?"),
        ({"dog": "dogg.n.01"}, "Did you mean 'dog.n.01'"),
    ):
        with pytest.raises(InputError) as refusal:
            match_vocabulary(words("dog"), senses)
        assert_says(refusal.value, word)


def test_names_of_other_networks():
    ids = [synsets()[name].wordnet_id for name in class_synsets()]
    long = [", ".join(synsets()[name].words) for name in class_synsets()]
    short = [re.sub(r" \(\d+\)$", "", name) for name in class_names()]
    for classes in (ids, long, short):
        assert concepts_of(classes, words(*COCO)) == concepts_of(class_names(), words(*COCO))
    for classes in (["background", *short], short[:-1], short[1:] + short[:1], [str(place) for place in range(1000)]):
        assert not are_imagenet(classes)
    assert concepts_of(VOC_CLASSES, words(*COCO)) == {place: (name,) for place, name in enumerate(VOC.values())}


@pytest.mark.parametrize("name", ["<script>window.stolen = 1</script>", "=1+1", "\u202egod", "a" * 10_000, "dog.n.01"])
def test_strange_names_do_no_harm(name):
    found = match_vocabulary(words(name))
    assert "<script>" not in found._repr_html_() and not found.matches[0].classes
    assert not any(concepts_of(["cat", "dog"], words(name)).values())


def test_what_can_be_compared():
    named = concepts_of(class_names(), words(*COCO))
    rows = compare(
        {"dog": True, "kite": True, "cat": False}, 151, {"dog": False, "cat": False, "lamp": True}, named
    ).set_index("concept")
    assert rows.says.to_dict() == {"dog": True, "kite": None, "cat": False, "lamp": None}
    assert rows.agree.to_dict() == {"dog": False, "kite": None, "cat": True, "lamp": None}
    assert compare({}, 0, {}, named).empty


# ---- the table


def rows_of(text):
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")][1:]


def test_the_table_is_small_cited_and_licensed():
    text = TABLE.read_text(encoding="utf-8")
    assert len(text.encode()) < 80_000 and text.isascii()
    for word in (
        "WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved.",
        "appear on ALL copies",
        "Fellbaum 1998",
        "sha256 of data.noun",
        "LICENSEE agrees to preserve same",
        "tools/imagenet_table.py",
    ):
        assert word in text
    assert "imagenet_wordnet.tsv" in (ROOT / "MANIFEST.in").read_text()


def test_the_table_is_whole():
    "Every class, everything above it and nothing else; upwards all ways end at entity."
    rows = rows_of(TABLE.read_text(encoding="utf-8"))
    above = {number: up.split() for number, _, _, up in rows}
    places = {int(place): number for number, place, _, _ in rows if place}
    assert sorted(places) == list(range(1000)) and [places[place] for place in range(1000)] == sorted(
        places.values(), key=int
    )
    reached, new = set(), set(places.values())
    while new:
        reached |= new
        new = {other for number in new for other in above[number]} - reached
    assert reached == set(above) and [number for number, up in above.items() if not up] == ["1740"]
    assert len(synsets()) == len(rows)  # no two have one name


def test_classes_below_as_walked_from_above():
    def down(name):
        return {name}.union(*(down(other) for other, one in synsets().items() if name in one.above))

    for name in ("bird.n.01", "dog.n.01", "vessel.n.02", "sofa.n.01"):
        assert classes_below()[name] == tuple(
            sorted(one.place for one in map(synsets().get, down(name)) if one.place is not None)
        )
    assert all(any("dog.n.01" in chain for chain in chains(class_synsets()[place])) for place in range(151, 269))


def test_the_table_of_meanings():
    names = [row.concept for row in MEANINGS]
    assert len(set(names)) == len(names) and set(names) - set(COCO) == {"ball"}
    for row in MEANINGS:
        assert bool(row.synsets) == bool(classes_of_concept(row.concept)) and set(row.synsets.split()) | set(
            row.without.split()
        ) <= set(synsets())
        assert row.why or not (row.without or " " in row.synsets or not row.synsets)


def tool():
    spec = importlib.util.spec_from_file_location("imagenet_table", ROOT / "tools" / "imagenet_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tool_reads_wordnets_form():
    "Eleven words are 0b; a case of is above too; what else it points at is not."
    made = tool()
    several = " ".join(f"w{number} 0" for number in range(11))
    text = (
        "  1 licence text  \n00000001 03 n 01 thing 0 001 ~ 00000002 n 0000 | a | b\n"
        f"00000002 05 n 0b {several} 003 @ 00000001 n 0000 #m 00000009 n 0000 @i 00000001 n 0000 | gloss @ 3\n"
    )
    assert made.read_synsets(text) == {
        "00000001": (["thing"], []),
        "00000002": ([f"w{number}" for number in range(11)], ["00000001", "00000001"]),
    }
    assert made.read_meanings("  1 x\nthing n 2 1 @ 2 1 00000001 00000007  \n") == {"thing": ["00000001", "00000007"]}
    assert (
        made.licence(text) == ["licence text"]
        and made.numbered_among("b", ["a", "b"]) == ".2/2"
        and made.numbered_among("a", ["a"]) == ""
    )


def test_the_tool_refuses_other_files(tmp_path):
    (tmp_path / "data.noun").write_text("  1 no WordNet\n")
    with pytest.raises(SystemExit, match="is not a file of WordNet 3.0"):
        tool().main(tmp_path / "data.noun", tmp_path / "data.noun")


def test_the_table_is_made_again(tmp_path):
    "To the byte, where WordNet's database is at hand."
    folder = Path(os.environ.get("WNSEARCHDIR", "/usr/share/wordnet"))
    if not (folder / "data.noun").exists():
        pytest.skip("WordNet 3.0's database is not here: set WNSEARCHDIR to the folder with data.noun and index.noun")
    made = tool()
    if (
        hashlib.sha256((folder / "data.noun").read_bytes().replace(b"\r\n", b"\n")).hexdigest()
        != made.SHA256["data.noun"]
    ):
        pytest.skip("the WordNet database that is here is not of version 3.0")
    made.main(folder / "data.noun", folder / "index.noun", tmp_path / "table.tsv")
    assert (tmp_path / "table.tsv").read_bytes() == TABLE.read_bytes()
