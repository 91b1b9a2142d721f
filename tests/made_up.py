"""A dissection and its top images made of nothing but noise, of any size, with the names that one wants: what a
report must bear."""

import json
from pathlib import Path

import numpy as np
import xarray as xr

from inner_detectors.data.vocabulary import Concept, Vocabulary
from inner_detectors.data.dataset import Data
from inner_detectors.data.sample import Region, Sample
from inner_detectors.dissection.result import Dissection
from inner_detectors.dissection.store import TABLE_FORMAT, save_table
from inner_detectors.networks.model import Model
from inner_detectors.passes.batches import View

HOSTILE = [
    "<script>window.stolen = 1</script>",
    "</script><img src=x onerror=window.stolen=2>",
    "dog\x07\x1b[31m\nbark",
    "\u202egod gnikrab\u202c \u200f",
    "=SUM(1,2)",
    "x" * 10_000,
    "'\"&<b>",
    "{{script}}",
    "کلب",
    "\u2028-->",
    "javascript:stolen=3",
    "a:b/c?d=e#f%00",
]
PROTOCOL = {
    "name": "netdissect",
    "threshold_over": "data",
    "quantile": 0.005,
    "score_over": "data",
    "area": "annotated",
    "mask_size": 0.5,
    "keep": 0.0,
    "maskless": "kept",
    "geometry": "receptive-field",
    "detects": 0.04,
    "labels": 1,
}
VGG16 = {
    **{f"conv3_{i}": (56, 256) for i in (1, 2, 3)},
    "pool3": (28, 256),
    **{f"conv4_{i}": (28, 512) for i in (1, 2, 3)},
    "pool4": (14, 512),
    **{f"conv5_{i}": (14, 512) for i in (1, 2, 3)},
    "pool5": (7, 512),
}  # cells to a side, units: 5,120 of them


class Noise:
    "A source of images of noise, of 224 x 224 pixels; some of them gone."

    def __init__(self, names: list[str], words: list[str], gone: tuple[str, ...] = (), side: int = 224):
        self.name, self.keys, self.gone, self.side = "noise", names, gone, side
        self.concepts = Vocabulary([Concept(word, "object") for word in words])

    def identity(self) -> dict[str, str]:
        return {"noise": str(len(self.keys))}

    def sample(self, key: str) -> Sample:
        if key in self.gone:
            raise FileNotFoundError(2, "No such file or directory", key)
        random = np.random.default_rng(self.keys.index(key))
        coarse = np.kron(random.integers(0, 256, (28, 28, 3)), np.ones((self.side // 28, self.side // 28, 1)))
        image = coarse + random.integers(-20, 20, (self.side, self.side, 3))
        return Sample(
            key,
            np.clip(image, 0, 255).astype(np.uint8),
            (Region(self.concepts.names[0], np.ones((self.side, self.side), bool)),),
        )


def blob(random: np.random.Generator, side: int, number: int) -> np.ndarray:
    "Bit maps with an ellipse each."
    y, x = np.mgrid[:side, :side] / side
    middle, size = random.uniform(0.2, 0.8, (number, 2, 1, 1)), random.uniform(0.06, 0.3, (number, 2, 1, 1))
    return ((y - middle[:, 0]) / size[:, 0]) ** 2 + ((x - middle[:, 1]) / size[:, 1]) ** 2 < 1


def dissection(layers: dict[str, tuple[int, int]], words: list[str], images: list[str], seed: int = 0) -> Dissection:
    "Counts drawn at random; about one unit in three detects something."
    random = np.random.default_rng(seed)
    kinds = ["object", "part", "texture", "colour"]
    category = np.array([kinds[place % 4] for place in range(len(words))], object)
    used = [kind for kind in kinds if kind in category]
    layer = np.concatenate([np.full(units, name, object) for name, (_, units) in layers.items()])
    index = np.concatenate([np.arange(units) for _, units in layers.values()])
    units, concepts = len(layer), len(words)
    area = random.integers(30_000, 60_000, (units, len(used)))
    both = (random.random((units, concepts)) ** 9 * 6_000).astype(np.int64)
    both[::7] = 0
    view = {"size": 224, "side": 112, "keep": 0.0, "batch": 8, "maskless": "kept"}
    geometry = {
        name: {"centre": [224 / side / 2 - 0.5] * 2, "jump": [224 / side] * 2, "field": [9, 9]}
        for name, (side, _) in layers.items()
    }
    about = {
        "model": "noise",
        "weights": {},
        "layers": list(layers),
        "data": {"sources": [{"name": "noise"}]},
        "protocol": PROTOCOL,
        "geometry": geometry,
        "view": view,
    }
    return Dissection(
        xr.Dataset(
            {
                "intersection": (("unit", "concept"), both),
                "unit_area": (("unit", "category"), area),
                "concept_area": ("concept", random.integers(20_000, 90_000, concepts)),
                "concept_images": ("concept", random.integers(3, 40, concepts)),
                "threshold": ("unit", random.random(units).astype(np.float32)),
                "dead": ("unit", np.arange(units) == 1),
                "sparse": ("unit", np.arange(units) == 2),
                "image_source": ("image", np.full(len(images), "noise", object)),
                "image_group": ("image", np.full(len(images), "", object)),
            },
            {
                "unit": np.array([f"{name}:{place}" for name, place in zip(layer, index)], object),
                "layer": ("unit", layer),
                "index": ("unit", index),
                "concept": np.array(words, object),
                "concept_category": ("concept", category),
                "category": np.array(used, object),
                "image": np.array(images, object),
            },
            {
                "format": TABLE_FORMAT,
                "run": "made up",
                "about": json.dumps(about),
                "protocol": json.dumps(PROTOCOL),
                "model": "noise",
                "data": "noise",
                "images": len(images),
                "maskless": 0,
                "groups": 0,
                "geometry": json.dumps(geometry),
                "weights_sha256": "",
                "data_sha256": "{}",
                "versions": '{"inner-detectors": "0"}',
                "backend": "none",
                "date": "2026-01-01T00:00:00+00:00",
                "problems": json.dumps([HOSTILE[0]]),
            },
        )
    )


def pictures(dissection: Dissection, layers: dict[str, tuple[int, int]], ranks: int = 12, seed: int = 1) -> xr.Dataset:
    "Analysis `top-images` of a made-up dissection: the strongest images drawn at random, a blob lit in each, some masks."
    random, table = np.random.default_rng(seed), dissection.table
    units, images, concepts, side = table.sizes["unit"], table.sizes["image"], table.sizes["concept"], 112
    peak = random.gamma(2, 1, (images, units)).astype(np.float32)
    best = np.argsort(-peak, axis=0)[:ranks].T.astype(np.int32)
    shown = random.random((images, concepts)) < min(0.5, 4 / concepts)
    shown[:, 0] = True
    image, concept = np.nonzero(shown)
    parts = {}
    for place, (cells, number) in enumerate(layers.values()):
        lit = blob(random, cells, number * ranks).reshape(number, ranks, cells, cells)
        names = (f"units_{place}", "rank", f"rows_{place}", f"columns_{place}")
        bits = np.packbits(lit.reshape(number, ranks, -1), axis=2)
        parts |= {
            f"maps_{place}": (names, lit.astype(np.float16)),
            f"lit_{place}": ((*names[:2], f"bytes_{place}"), bits),
        }
    masks = np.concatenate([np.packbits(blob(random, side, 256).reshape(256, -1), axis=1)] * (len(image) // 256 + 1))[
        : len(image)
    ]
    return xr.Dataset(
        {
            "peak": (("image", "unit"), peak),
            "shown": (("image", "concept"), shown),
            "image_source": ("image", np.zeros(images, np.int32)),
            "image_index": ("image", np.arange(images, dtype=np.int32)),
            "predicted": ("image", np.full(images, -1, np.int32)),
            "predicted_probability": ("image", np.full(images, np.nan, np.float32)),
            "top_image": (("unit", "rank"), best),
            **parts,
            "annotated": (("source", "concept"), np.ones((1, concepts), bool)),
            "threshold": ("unit", table.threshold.values),
            "mask_image": ("mask", image.astype(np.int32)),
            "mask_concept": ("mask", concept.astype(np.int32)),
            "mask_bits": (("mask", "bytes"), masks),
        },
        {
            "unit": table.unit,
            "image": table.image,
            "concept": table.concept,
            "rank": np.arange(ranks),
            "source": np.array(["noise"], object),
        },
        {
            "format": TABLE_FORMAT,
            "run": table.attrs["run"],
            "analysis": "top-images",
            "key": "",
            "columns": "[]",
            "choices": json.dumps({"number": ranks}),
            "date": "2026-01-01T00:00:00+00:00",
            "layers": json.dumps(list(layers)),
            "classes": "[]",
            "side": side,
            "size": 224,
        },
    )


def written(
    folder: Path, layers: dict[str, tuple[int, int]], words: list[str], images: list[str], gone: tuple[str, ...] = ()
):
    "A folder with a made-up dissection and its images, and the study to report it with."
    from inner_detectors.dissection.study import Study

    found = dissection(layers, words, images)
    found.save(folder)
    save_table(pictures(found, layers), folder / "top-images.nc")
    names = set(Study._fields)
    given = {
        "dissection": found,
        "model": Model("noise", lambda _, x: {}),
        "data": Data([Noise(images, words, gone)]),
        "view": View(224, 112),
        "devices": (),
    }
    return Study(**{name: value for name, value in given.items() if name in names})
