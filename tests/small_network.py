"""A network of two small layers and a head, for what must be run as a command again and again: it is read and compiled
in no time."""

import jax
import jax.numpy as jnp
import numpy as np

from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model
from inner_detectors.networks.registry import MODELS, Family

SIZE, CELLS, UNITS = 64, 8, 12
NAME = "small"


def forward(parameters, images):
    cells = images.reshape(-1, CELLS, SIZE // CELLS, CELLS, SIZE // CELLS, 3).mean((2, 4))
    found = {"cells": jnp.concatenate([cells, 1 - cells], -1)}
    found["mixed"] = jax.nn.relu(found["cells"] @ parameters["mix"] + parameters["bias"])
    return found | {"head": found["mixed"].mean((1, 2), keepdims=True)}


def small(weights=None):
    draw = np.random.default_rng(0)
    parameters = {
        "mix": jnp.asarray(draw.normal(size=(6, UNITS)), jnp.float32),
        "bias": jnp.asarray(draw.normal(size=UNITS) / 4, jnp.float32),
    }
    return Model(
        NAME,
        forward,
        parameters,
        SIZE,
        geometry=dict.fromkeys(("cells", "mixed"), half_pixel(SIZE, (CELLS, CELLS))),
    )


def register():
    MODELS[NAME] = Family("two small layers and a head", small)
