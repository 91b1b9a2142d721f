"A network of one layer that sees red, green and blue, box by box."

import jax.numpy as jnp

from inner_detectors.networks.geometry import half_pixel
from inner_detectors.networks.model import Model
from inner_detectors.networks.registry import Family


def forward(_, images):
    boxes = images.reshape(-1, 16, 4, 16, 4, 3).mean((2, 4))
    return {"colours": jnp.maximum(2 * boxes - boxes.sum(-1, keepdims=True), 0)}


def colour_net(weights=None) -> Model:
    return Model("colour-net", forward, size=64, geometry={"colours": half_pixel(64, (16, 16))})


COLOUR_NET = Family("three units: red, green and blue", colour_net)
