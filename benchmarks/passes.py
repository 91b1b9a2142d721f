"""What one forward pass costs an image, against PyTorch's on the same parameters, and Lite0's depthwise convolutions in
both forms.

    .venv-torch/bin/python benchmarks/passes.py --batch 8

`make test-torch` makes that environment. Without PyTorch only ours is timed. The best of three rounds, every layer
computed, one kept.
"""

import argparse
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))


def ours(name: str, layer: str, images: np.ndarray, grouped: bool = False):
    "Our pass as a function without arguments."
    from inner_detectors.networks import efficientnet
    from inner_detectors.networks.registry import load_model
    from inner_detectors.passes.probe import probe

    if grouped:
        efficientnet.depthwise = efficientnet.depthwise_slowly
    look = probe(load_model(name), [layer])
    look(images)[layer].block_until_ready()
    return lambda: look(images)[layer].block_until_ready()


def vgg16_torch(images: np.ndarray):
    "VGG16's convolutions in PyTorch, as torchvision lays them out."
    import torch
    from torch import nn

    from inner_detectors.networks.registry import load_model

    arrays, net, below = load_model("vgg16").parameters, [], 3
    for block, (units, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1):
        for place in range(1, count + 1):
            conv = nn.Conv2d(below, units, 3, padding=1)
            kernel, bias = (np.array(arrays[f"conv{block}_{place}"][part][...]) for part in ("kernel", "bias"))
            conv.weight.data, conv.bias.data, below = (
                torch.tensor(kernel.transpose(3, 2, 0, 1)),
                torch.tensor(bias),
                units,
            )
            net += [conv, nn.ReLU(inplace=True)]
        net.append(nn.MaxPool2d(2))
    return running(nn.Sequential(*net), images)


def lite0_torch(images: np.ndarray):
    "EfficientNet-Lite0 in PyTorch, batch normalisation folded into the convolutions as ours is."
    import torch
    from torch import nn

    from inner_detectors.networks.efficientnet import LITE0_BLOCKS, same_pads
    from inner_detectors.networks.registry import load_model

    parameters = load_model("efficientnet-lite0").parameters

    def conv(at, stride=1, length=0, groups=1):
        kernel, bias = (np.array(at[part][...]) for part in ("kernel", "bias"))
        layer = nn.Conv2d(kernel.shape[2] * groups, kernel.shape[3], kernel.shape[0], stride, groups=groups)
        layer.weight.data, layer.bias.data = torch.tensor(kernel.transpose(3, 2, 0, 1)), torch.tensor(bias)
        pads = same_pads(length, kernel.shape[0], stride)
        return nn.Sequential(nn.ZeroPad2d((*pads, *pads)), layer) if any(pads) else layer

    class Block(nn.Module):
        def __init__(self, at, stride, length, adds):
            super().__init__()
            self.adds = adds
            first = [conv(at["expand"]), nn.ReLU6()] if "expand" in at else []
            units = at["depthwise"]["bias"][...].size
            self.inside = nn.Sequential(
                *first, conv(at["depthwise"], stride, length, units), nn.ReLU6(), conv(at["project"])
            )

        def forward(self, x):
            return x + self.inside(x) if self.adds else self.inside(x)

    net, length, below = [conv(parameters["stem"], 2, 224), nn.ReLU6()], 112, 32
    for place, (_, stride, _, units) in enumerate(LITE0_BLOCKS):
        net.append(Block(parameters[f"blocks_{place}"], stride, length, stride == 1 and below == units))
        length, below = -(-length // stride), units
    return running(nn.Sequential(*net, conv(parameters["head"]), nn.ReLU6()), images)


def running(net, images: np.ndarray):
    "PyTorch's pass as a function without arguments."
    import torch

    x = torch.tensor(images.transpose(0, 3, 1, 2) / np.float32(255))

    def run():
        with torch.inference_mode():
            return net.eval()(x)

    run()
    return run


def seconds(run, rounds: int = 3) -> float:
    "The best of several rounds."
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="images at a time")
    batch = parser.parse_args().batch
    images = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3)).astype(np.uint8)
    torch = find_spec("torch") is not None
    print(
        f"{jax.devices()[0].device_kind}, {batch} images at a time; s an image"
        + ("" if torch else "; PyTorch is not installed: not timed")
    )
    for name, layer, theirs in (("vgg16", "pool5", vgg16_torch), ("efficientnet-lite0", "head", lite0_torch)):
        mine = seconds(ours(name, layer, images)) / batch
        print(f"{name:20}{'inner-detectors':28}{mine:8.4f}")
        if torch:
            print(
                f"{'':20}{'PyTorch':28}{(other := seconds(theirs(images)) / batch):8.4f}   ours / PyTorch's "
                f"{mine / other:.2f}"
            )
    grouped = seconds(ours("efficientnet-lite0", "head", images, grouped=True)) / batch
    print(f"{'':20}{'with grouped convolutions':28}{grouped:8.4f}   against ours {grouped / mine:.1f} x")


if __name__ == "__main__":
    main()
