"""An independent forward pass of VGG16 in PyTorch, and the small golden arrays that it leaves in tests/golden.

    python tests/torch_golden.py            writes vgg16_small.npz and vgg16_conv.npz again

Needs torch, and for the second file the weights that `inner-detectors fetch vgg16-conv` brings. It shares no code with the package:
channels in front, float64, and its own preprocessing. What tests/test_models.py needs of it is NumPy alone.
"""
import os
import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parent / "golden"
WEIGHTS = Path(os.environ.get("INNER_DETECTORS_HOME") or GOLDEN.parents[1] / "pre-models") / "vgg16" / "vgg16_conv.safetensors"
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # units, convolutions
NARROW = 16     # the small network has 1/16 of the units
SAMPLE = 150    # values kept of each layer


def picture(seed=0, size=224):
    "A uint8 image with structure at every scale: smooth waves, blocks and noise. RandomState's stream is frozen by NumPy."
    noise = np.random.RandomState(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = np.stack([np.sin(a * x + b * y + c) for a, b, c in noise.uniform(-30, 30, (3, 3))], -1)
    blocks = noise.uniform(-1, 1, (size // 16, size // 16, 3)).repeat(16, 0).repeat(16, 1)
    return np.clip(128 + 60 * waves + 60 * blocks + noise.normal(0, 10, (size, size, 3)), 0, 255).astype(np.uint8)


def small_weights(seed=1):
    "Random parameters of a complete VGG16 with 1/16 of the units, scaled so that activations neither vanish nor explode."
    noise, arrays, units_in = np.random.RandomState(seed), {}, 3
    def add(name, shape):
        arrays[f"{name}/kernel"] = (noise.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))).astype(np.float32)
        arrays[f"{name}/bias"] = (noise.standard_normal(shape[-1]) * 0.1).astype(np.float32)
    for block, (units, count) in enumerate(BLOCKS, 1):
        for place in range(1, count + 1):
            add(f"conv{block}_{place}", (3, 3, units_in, units // NARROW))
            units_in = units // NARROW
    for name, shape in {"fc6": (49 * 32, 256), "fc7": (256, 256), "fc8": (256, 62)}.items(): add(name, shape)
    arrays["fc8/kernel"] /= 50  # a softmax that is not all 0 and 1
    return arrays


def torch_pass(arrays, image):
    "All layers of VGG16 for one uint8 RGB image, as float64 [h, w, unit]."
    import torch
    import torch.nn.functional as F
    weights = {name: torch.from_numpy(np.asarray(array, np.float64)) for name, array in arrays.items()}
    blue_first = image[:, :, [2, 1, 0]].astype(np.float64) - np.array([103.939, 116.779, 123.68])
    x, out = torch.from_numpy(blue_first).permute(2, 0, 1)[None], {}
    for block, (_, count) in enumerate(BLOCKS, 1):
        for name in [f"conv{block}_{place}" for place in range(1, count + 1)]:
            out[f"{name}.pre"] = F.conv2d(x, weights[f"{name}/kernel"].permute(3, 2, 0, 1), weights[f"{name}/bias"], padding=1)
            x = out[name] = F.relu(out[f"{name}.pre"])
        x = out[f"pool{block}"] = F.max_pool2d(x, 2)
    out = {name: value[0].permute(1, 2, 0) for name, value in out.items()}
    if "fc6/kernel" in weights:
        def dense(x, name): return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]
        out["fc6.pre"] = dense(out["pool5"].reshape(-1), "fc6")  # height, width, unit
        out["fc6"] = F.relu(out["fc6.pre"])
        out["fc7.pre"] = dense(out["fc6"], "fc7")
        out["fc7"] = F.relu(out["fc7.pre"])
        out["fc8"] = dense(out["fc7"], "fc8")
        out["prob"] = F.softmax(out["fc8"], 0)
    return {name: value.numpy().reshape((1, 1, -1) if value.ndim == 1 else value.shape) for name, value in out.items()}


def sampled(name, activations):
    "At most SAMPLE values of a layer at places drawn from its name, and its largest absolute value, as float32."
    flat = np.asarray(activations).reshape(-1)
    places = np.random.RandomState(sum(name.encode())).permutation(flat.size)[:SAMPLE]
    return np.append(flat[places], np.abs(flat).max()).astype(np.float32)


def write(name, arrays):
    "One golden file: per layer the sampled values, largest last."
    GOLDEN.mkdir(exist_ok=True)
    values = {layer: sampled(layer, value) for layer, value in torch_pass(arrays, picture()).items()}
    np.savez_compressed(GOLDEN / name, **values)
    print(f"{GOLDEN / name}: {len(values)} layers, {(GOLDEN / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    write("vgg16_small.npz", small_weights())
    if not WEIGHTS.is_file(): sys.exit(f"{WEIGHTS}: missing. Run: inner-detectors fetch vgg16-conv")
    from safetensors.numpy import load_file
    write("vgg16_conv.npz", load_file(WEIGHTS))
