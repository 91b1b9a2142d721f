"Images with a square of red or blue each, made on the spot: `patches:NUMBER`."

import numpy as np

from inner_detectors.core.errors import InputError
from inner_detectors.data.sample import Region, Sample
from inner_detectors.data.vocabulary import Concept, Vocabulary


class Patches:
    "A source: keys, and a sample for each."

    name, concepts = "patches", Vocabulary([Concept("red", "colour"), Concept("blue", "colour")])

    def __init__(self, number: int):
        self.keys = [f"{place:03}" for place in range(number)]

    @classmethod
    def parse(cls, where: str, **_):
        "From what stands behind `patches:`."
        if not where.isdigit():
            raise InputError(f"patches:{where}: is no number of images. Say patches:16.")
        return cls(int(where))

    def identity(self):
        return {"patches": str(len(self.keys))}

    def sample(self, key: str) -> Sample:
        draw = np.random.default_rng(int(key))
        kind, (top, left) = int(key) % 2, draw.integers(0, 40, 2)
        image, mask = np.full((64, 64, 3), 60, np.uint8), np.zeros((64, 64), bool)
        mask[top : top + 24, left : left + 24] = True
        image[mask] = np.roll([150 + 5 * int(key), 20, 20], -kind)
        return Sample(key, image, (Region(("red", "blue")[kind], mask),))
