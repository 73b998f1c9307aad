"""The peer PyTorch: the same works as ../../src/ours.rs, in the protocol of ../../src/peer.rs."""

import gc
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

# Ctrl-C ends the peer without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)
if threads := os.environ.get("PEER_THREADS"):
    torch.set_num_threads(int(threads))
torch.manual_seed(0)

# The images that the isolated layers see.
IMAGES = (64, 64, 16, 16)


class Unsupported(Exception):
    pass


# --- Isolated operations: a call, and what remains of it without the operation.


def product(size):
    a, b = torch.randn(size, size), torch.randn(size, size)
    return (lambda: a @ b), None


def layer(module, *shape):
    """Its input is the output of a rectifier, its gradient comes from above."""
    leaf = torch.randn(shape).requires_grad_()

    def tensor():
        leaf.grad = None
        return torch.relu(leaf)

    parameters = list(module.parameters())
    of_output = torch.randn_like(module(tensor()))
    of_input = torch.randn(shape)

    def run():
        for parameter in parameters:
            parameter.grad = None
        module(tensor()).backward(of_output)

    return run, lambda: tensor().backward(of_input)


class After(nn.Module):
    """A norm, then what is added to it and a rectifier."""

    def __init__(self, norm, residual=None, rectify=False):
        super().__init__()
        self.norm, self.residual, self.rectify = norm, residual, rectify

    def forward(self, x):
        y = self.norm(x)
        if self.residual is not None:
            y = y + self.residual
        return F.relu(y) if self.rectify else y


class ChannelLayerNorm(nn.LayerNorm):
    """Not in PyTorch: the operations that timm's takes."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def weight(module):
    """The weight of a training step by its parametrization, and the gradients below it from a given upstream."""
    parameters = list(module.parameters())
    upstream = torch.randn_like(module.weight)

    def run():
        for parameter in parameters:
            parameter.grad = None
        module.weight.backward(upstream)

    return run, None


def loss(value, *shape):
    """Its input is the output of a reshape."""
    leaf = torch.randn(shape).flatten().requires_grad_()

    def tensor():
        leaf.grad = None
        return leaf.view(shape)

    of_input = torch.randn(shape)
    return (lambda: value(tensor()).backward()), lambda: tensor().backward(of_input)


def cross_entropy():
    labels = torch.randint(0, 1000, (4096,))
    return loss(lambda x: F.cross_entropy(x, labels), 4096, 1000)


def elementwise(value):
    target = torch.rand(256, 784)
    return loss(lambda x: value(x, target), 256, 784)


def sigmoid_focal(x, target):
    """Not in PyTorch: the operations that torchvision's takes."""
    p = torch.sigmoid(x)
    log_loss = F.binary_cross_entropy_with_logits(x, target, reduction="none")
    miss = p * (1 - target) + (1 - p) * target
    alpha = 0.25 * target + 0.75 * (1 - target)
    return (alpha * log_loss * miss**2).mean()


def kl_div():
    target = torch.softmax(torch.randn(4096, 1000), 1)
    value = lambda x: F.kl_div(F.log_softmax(x, 1), target, reduction="batchmean")
    return loss(value, 4096, 1000)


def nt_xent():
    """Not in PyTorch: a product of unit vectors, and the cross-entropy of its rows."""
    second = torch.randn(256, 128)
    partners = (torch.arange(512) + 256) % 512
    itself = torch.eye(512, dtype=torch.bool)

    def value(first):
        z = F.normalize(torch.cat([first, second]))
        logits = (z @ z.T / 0.1).masked_fill(itself, float("-inf"))
        return F.cross_entropy(logits, partners)

    return loss(value, 256, 128)


def convolution(kernel, outputs, **options):
    return layer(nn.Conv2d(64, outputs, kernel, bias=False, **options), *IMAGES)


def grouped(kernel, groups, *shape):
    """Keeps the shape of the images."""
    channels = shape[1]
    return layer(nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=groups, bias=False), *shape)


def transposed_convolution():
    conv = nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False)
    return layer(conv, 64, 64, 8, 8)


# --- Training steps.


def training(module, value, variant):
    """Steps of AdamW down the gradient of value(), which applies the module."""
    if variant not in ("", "fused", "compiled"):
        raise Unsupported(f"no variant {variant!r}")
    hold()
    if variant == "compiled":
        value = torch.compile(value)
    # PyTorch chooses the implementation by itself where nothing is said.
    options = {"fused": True} if variant else {}
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, **options)

    def run():
        optimizer.zero_grad()
        value().backward()
        optimizer.step()

    return run, None


def mlp(batch, variant):
    module = nn.Sequential(
        *(nn.Linear(784, 512), nn.BatchNorm1d(512), nn.ReLU()),
        *(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU()),
        nn.Linear(512, 10),
    )
    images, labels = torch.rand(batch, 784), torch.randint(0, 10, (batch,))
    return training(module, lambda: F.cross_entropy(module(images), labels), variant)


def deep_autoencoder(batch, variant):
    widths = [784, 1000, 500, 250, 30, 250, 500, 1000, 784]
    layers = []
    for at, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        layers.append(nn.Linear(inputs, outputs))
        if at == 7:
            layers.append(nn.Sigmoid())
        elif at != 3:
            layers.append(nn.ReLU())
    module = nn.Sequential(*layers)
    images = torch.rand(batch, 784)
    return training(module, lambda: F.mse_loss(module(images), images), variant)


def convolutional_autoencoder(batch, variant):
    halving = {"stride": 2, "padding": 1}
    module = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, **halving), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, **halving), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 16, 4, **halving), nn.ReLU()),
        *(nn.ConvTranspose2d(16, 1, 4, **halving), nn.Sigmoid()),
    )
    images = torch.rand(batch, 1, 28, 28)
    return training(module, lambda: F.mse_loss(module(images), images), variant)


class Bottleneck(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(256, 64, 1, bias=False), nn.BatchNorm2d(64)
        self.conv2, self.bn2 = nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
        self.conv3, self.bn3 = nn.Conv2d(64, 256, 1, bias=False), nn.BatchNorm2d(256)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + x)


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = nn.Sequential()
        if stride > 1:
            conv = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class InvertedResidual(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.conv = nn.Sequential(
            *(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6()),
            *(nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), nn.BatchNorm2d(width), nn.ReLU6()),
            *(nn.Conv2d(width, channels, 1, bias=False), nn.BatchNorm2d(channels)),
        )

    def forward(self, x):
        return x + self.conv(x)


def block(module, variant, *shape):
    # The block stands inside a network, so its input has a gradient.
    x = torch.randn(shape, requires_grad=True)
    step, _ = training(module, lambda: module(x).square().mean(), variant)

    def run():
        x.grad = None
        step()

    return run, None


def bottleneck(batch, variant):
    return block(Bottleneck(), variant, batch, 256, 16, 16)


def basic_block(batch, variant):
    return block(BasicBlock(64, 64), variant, batch, 64, 16, 16)


def inverted_residual(batch, variant):
    return block(InvertedResidual(24, 144), variant, batch, 24, 16, 16)


def resnet18(batch, variant):
    blocks = []
    for inputs, outputs in [(64, 64), (64, 128), (128, 256), (256, 512)]:
        blocks += [BasicBlock(inputs, outputs, outputs // inputs), BasicBlock(outputs, outputs)]
    module = nn.Sequential(
        *(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
        *blocks,
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)),
    )
    images, labels = torch.rand(batch, 3, 32, 32), torch.randint(0, 10, (batch,))
    return training(module, lambda: F.cross_entropy(module(images), labels), variant)


def adamw(variant):
    parameters = [nn.Parameter(torch.randn(1000, 1000)) for _ in range(3)]
    for parameter in parameters:
        parameter.grad = torch.randn(1000, 1000)
    options = {"fused": True} if variant == "fused" else {}
    return torch.optim.AdamW(parameters, lr=1e-4, **options).step, None


STEPS = {
    "mlp": mlp,
    "deep_ae": deep_autoencoder,
    "conv_ae": convolutional_autoencoder,
    "bottleneck": bottleneck,
    "basic_block": basic_block,
    "inverted_residual": inverted_residual,
    "resnet18": resnet18,
}

OPERATIONS = {
    "gemm_256": lambda: product(256),
    "gemm_512": lambda: product(512),
    "gemm_1024": lambda: product(1024),
    "gemm_2048": lambda: product(2048),
    "batch_norm_1d": lambda: layer(nn.BatchNorm1d(512), 256, 512),
    "batch_norm_2d": lambda: layer(nn.BatchNorm2d(64), *IMAGES),
    "batch_norm_2d_relu": lambda: layer(After(nn.BatchNorm2d(64), rectify=True), *IMAGES),
    "batch_norm_2d_add_relu": lambda: layer(After(nn.BatchNorm2d(64), torch.randn(IMAGES), True), *IMAGES),
    "layer_norm": lambda: layer(nn.LayerNorm(512), 4096, 512),
    "layer_norm_add": lambda: layer(After(nn.LayerNorm(512), torch.randn(4096, 512)), 4096, 512),
    "rms_norm": lambda: layer(nn.RMSNorm(512), 4096, 512),
    "group_norm": lambda: layer(nn.GroupNorm(32, 64), *IMAGES),
    "group_norm_relu": lambda: layer(After(nn.GroupNorm(32, 64), rectify=True), *IMAGES),
    "instance_norm": lambda: layer(nn.InstanceNorm2d(64), *IMAGES),
    "channel_layer_norm": lambda: layer(ChannelLayerNorm(64), *IMAGES),
    "local_response_norm": lambda: layer(nn.LocalResponseNorm(5), *IMAGES),
    "spectral_norm": lambda: weight(nn.utils.parametrizations.spectral_norm(nn.Conv2d(512, 512, 3, bias=False))),
    "weight_norm": lambda: weight(nn.utils.parametrizations.weight_norm(nn.Conv2d(512, 512, 3, bias=False))),
    "cross_entropy": cross_entropy,
    "bce_with_logits": lambda: elementwise(F.binary_cross_entropy_with_logits),
    "mse": lambda: elementwise(F.mse_loss),
    "mae": lambda: elementwise(F.l1_loss),
    "huber": lambda: elementwise(F.huber_loss),
    "sigmoid_focal": lambda: elementwise(sigmoid_focal),
    "kl_div": kl_div,
    "nt_xent": nt_xent,
    "conv_1x1": lambda: convolution(1, 256),
    "conv_3x3": lambda: convolution(3, 64, padding=1),
    "conv_3x3_stride_2": lambda: convolution(3, 64, padding=1, stride=2),
    "conv_1x1_stride_2": lambda: convolution(1, 128, stride=2),
    "conv_grouped": lambda: grouped(3, 32, 64, 128, 16, 16),
    "conv_depthwise": lambda: grouped(3, 96, 64, 96, 16, 16),
    "conv_depthwise_7x7": lambda: grouped(7, 96, 64, 96, 8, 8),
    "conv_transposed": transposed_convolution,
}


def build(work, batch, variant):
    if work in STEPS:
        return STEPS[work](batch, variant)
    if work == "adamw_3m":
        return adamw(variant)
    if work in OPERATIONS and not variant:
        return OPERATIONS[work]()
    raise Unsupported(f"no work {work!r} with variant {variant!r}")


# --- The protocol.


def milliseconds(call):
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def timed(run, base, seconds):
    start = time.perf_counter()
    while True:
        if base:
            base()
        run()
        if time.perf_counter() - start >= min(seconds / 10, 0.05):
            break
    samples, base_samples = [], []
    start = time.perf_counter()
    while len(samples) < 3 or time.perf_counter() - start < seconds:
        if base:
            base_samples.append(milliseconds(base))
        samples.append(milliseconds(run))
    return {"samples_ms": samples, "base_ms": base_samples}


# What the process held before the first step, and its peak until then, in KiB.
held = None


def kib(name):
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        raise Unsupported("the system does not tell a process's peak memory") from None
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name))


def hold():
    global held
    try:
        held = kib("VmRSS:"), kib("VmHWM:")
        # Starts the peak anew.
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, Unsupported):
        pass


def remembered(run, steps):
    for _ in range(steps):
        run()
    of_steps = kib("VmHWM:")
    if held is None:
        raise Unsupported("it is no training step")
    before, peak = held
    return {"held_kib": before, "peak_kib": max(peak, of_steps), "peak_of_steps_kib": of_steps}


built = {}


def answer(request):
    wanted = request["work"], request["batch"], request["variant"]
    if any(work != wanted[0] for work, *_ in built):
        built.clear()
        gc.collect()
    if wanted not in built:
        built[wanted] = build(*wanted)
    run, base = built[wanted]
    if "steps" in request:
        return remembered(run, request["steps"])
    return timed(run, base, request["seconds"])


def say(value):
    print(json.dumps(value), flush=True)


settings = {
    "instructions": torch.backends.cpu.get_cpu_capability(),
    "MKL": "yes" if torch.backends.mkl.is_available() else "no",
    "Python": platform.python_version(),
}
say({
    "name": "PyTorch",
    "version": torch.__version__,
    "threads": torch.get_num_threads(),
    "settings": settings,
})
for line in sys.stdin:
    try:
        say(answer(json.loads(line)))
    except Exception as error:  # What fails is said in the table.
        say({"unsupported": f"{type(error).__name__}: {error}"})
