"Does a unit answer bright images more? The difference of its mean in the brighter and the darker half."

from dataclasses import dataclass

import numpy as np
import xarray as xr

from inner_detectors.core.errors import InputError
from inner_detectors.dissection.analysis import Analysis, Pass, Plan, Section, Vote
from inner_detectors.dissection.parts import by_columns
from inner_detectors.passes.fold import Fold


@dataclass(frozen=True)
class BrightnessChoices:
    most: float = 0.9  # a label passes where its unit differs by less than this share


def means(names: list[str]) -> Fold:
    "Of each image its brightness and each unit's mean: [image, 1 + unit]."

    def step(state, batch):
        maps = np.concatenate([np.asarray(batch.activations[name]).mean((1, 2)) for name in names], 1)
        rows = np.concatenate([batch.images.mean((1, 2, 3))[:, None], maps], 1)[: batch.filled]
        return np.concatenate([state.reshape(-1, rows.shape[1]), rows])

    return Fold(
        lambda: np.zeros((0, 0)), step, lambda a, b: np.concatenate([a, b]) if a.size and b.size else a if a.size else b,
        lambda state: state,
    )  # fmt: skip


def plan(study, choices: BrightnessChoices) -> Plan:
    if not 0 < choices.most <= 1:
        raise InputError(f"brightness: most={choices.most} is no share. Give a number from 0 to 1.")

    def passes():
        found, _ = yield Pass("means", means(study.names), study.names)
        bright = found[:, 0] > np.median(found[:, 0])
        high, low = (found[some, 1:].mean(0) if some.any() else found[:, 1:].mean(0) for some in (bright, ~bright))
        change = (high - low) / np.maximum(high + low, 1e-12)
        return xr.Dataset({"brightness_change": ("unit", change)}, {"unit": study.units}).assign_attrs(
            most=choices.most
        )

    return Plan({"most": choices.most}, passes)


def steady(table, found) -> Vote:
    change = np.abs(table.brightness_change.values)
    return Vote(np.isfinite(change), change < table.attrs["most"])


BRIGHTNESS = Analysis(
    "brightness",
    "Say whether units answer bright images more than dark ones.",
    BrightnessChoices,
    plan,
    columns=("brightness_change",),
    section=Section("Brightness", "The unit in the brighter half of the images against the darker.", by_columns),
    vote=steady,
)
