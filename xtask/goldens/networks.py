"""Golden cases of whole networks, which are too large to write down: their parameters are made from the names.

The element `index` of what is called `name` comes from 64 bits: splitmix64 at FNV-1a(name) + (index + 1) * GAMMA. Their first
24 are a fraction u of 0 to 1, and the element is `middle + width * v` with v = 2 u - 1, rounded to f32; middle and width go by
the name. The bias of a batch normalization is `low + (high - low) * |v|` with the sign of v: few of the numbers that go into a
rectifier are so near to 0 that another order of additions changes their sign, and with it a gradient. The same is written
in Rust beside the tests.

Of what a step of training changes there is a digest: the mean of the changes, their root mean square, and eight of them,
evenly spread from the first to the last.
"""

import hashlib
import math

import golden
import numpy
import torch
import torchvision

GAMMA = 0x9E3779B97F4A7C15
STATISTICS = ("running_mean", "running_var")
COUNT = "num_batches_tracked"
# Batches before the step.
COUNTED = 2
# Elements made at a time.
CHUNK = 1 << 22


def fnv(name):
    """FNV-1a of the name's bytes."""
    found = 0xCBF29CE484222325
    for byte in name.encode():
        found = (found ^ byte) * 0x100000001B3 % (1 << 64)
    return found


def fractions(name, count):
    """`count` numbers from 0 up to but not 1, multiples of 2^-24."""
    found = numpy.empty(count)
    for start in range(0, count, CHUNK):
        index = numpy.arange(start + 1, min(start + CHUNK, count) + 1, dtype=numpy.uint64)
        with numpy.errstate(over="ignore"):
            bits = numpy.uint64(fnv(name)) + index * numpy.uint64(GAMMA)
            bits = (bits ^ (bits >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
            bits = (bits ^ (bits >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
            bits ^= bits >> numpy.uint64(31)
        found[start : start + CHUNK] = (bits >> numpy.uint64(40)) / 2.0**24
    return found


def entry(name, shape, of_norm, case):
    """The entry `name` of a state dict; `of_norm` are the norms with running statistics."""
    norm, last = name.rsplit(".", 1)
    if last == COUNT:
        return torch.tensor(COUNTED)
    if norm in of_norm and last == "bias":
        low, high = case["norm_bias"]
        v = signed(name, shape)
        values = numpy.where(v < 0, -1, 1) * (low + (high - low) * numpy.abs(v))
        return torch.from_numpy(values.astype(numpy.float32))
    if norm in of_norm and last == "weight":
        return made(name, shape, case["norm_weight"], case["norm_weight"] / 4)
    if last == "running_var":
        return made(name, shape, 1.0, 0.5)
    if last == "layer_scale":
        return made(name, shape, 0.5, 0.25)
    if last == "weight" and len(shape) > 1:
        # The variance is 2 over the inputs of an output.
        return made(name, shape, 0.0, math.sqrt(6.0 / math.prod(shape[1:])))
    if last == "weight":
        return made(name, shape, 0.75, 0.25)
    # A bias or a running mean.
    return made(name, shape, 0.0, 0.125)


def signed(name, shape):
    """Numbers from -1 up to but not 1."""
    return (2 * fractions(name, math.prod(shape)) - 1).reshape(shape)


def made(name, shape, middle, width):
    return torch.from_numpy((middle + width * signed(name, shape)).astype(numpy.float32))


def state(network, case):
    """The state dict of a network, made from its names."""
    shapes = {name: list(values.shape) for name, values in network.state_dict().items()}
    of_norm = {name.rsplit(".", 1)[0] for name in shapes if name.endswith(STATISTICS)}
    return {name: entry(name, shape, of_norm, case) for name, shape in shapes.items()}


def forms(state):
    """The SHA-256 of the names with their shapes, a sorted line each."""
    lines = sorted(f"{name} {'x'.join(map(str, values.shape))}" for name, values in state.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def rounded(values, digits):
    return [float(f"%.{digits}g" % value) for value in values]


def digest(values, digits):
    flat = values.double().reshape(-1)
    eight = [flat[k * (len(flat) - 1) // 7].item() for k in range(8)]
    return rounded([flat.mean().item(), flat.square().mean().sqrt().item(), *eight], digits)


def results(network, start, case, dtype):
    """The logits in evaluation, then the loss of a step in training and what it changes."""
    network = network.to(dtype)
    network.load_state_dict(start)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, torchvision.ops.StochasticDepth):
            module.p = 0.0
    side = case["side"]
    x = made("input", [case["batch"], 3, side, side], 0.0, math.sqrt(3.0)).to(dtype)
    labels = torch.arange(case["batch"]) * 337 % 1000
    network.eval()
    with torch.no_grad():
        logits = network(x)
    optimizer = torch.optim.SGD(
        network.parameters(), case["learning_rate"], momentum=case["momentum"], weight_decay=case["weight_decay"]
    )
    network.train()
    loss = torch.nn.functional.cross_entropy(network(x), labels)
    loss.backward()
    optimizer.step()
    changes = {name: values.double() - start[name] for name, values in network.state_dict().items() if not name.endswith(COUNT)}
    return logits, loss.item(), changes


def case(name, norm_weight=0.125, norm_bias=(0.25, 0.75), digits=7):
    """The case of torchvision's network of this name; what f32 makes of it goes to standard output."""
    case = {"network": name, "batch": 2, "side": 64, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    case |= {"norm_weight": norm_weight, "norm_bias": list(norm_bias)}
    make = getattr(torchvision.models, name)
    start = state(make(), case)
    case |= {"entries": len(start), "forms": forms(start)}
    logits, loss, changes = results(make(), start, case, torch.float64)
    single = results(make(), start, case, torch.float32)
    error = (single[0] - logits).abs().max() / logits.abs().max()
    worst = max(
        (single[2][name] - values).abs().max() / (start[name] + values).abs().max() for name, values in changes.items()
    )
    print(f"{name}: f32 is off by {error:.1e} of the largest logit, {worst:.1e} of the largest updated value")
    case |= {"logits": rounded(logits[:, ::25].reshape(-1).tolist(), digits), "loss": loss}
    return case | {"changes": {name: digest(values, digits) for name, values in changes.items()}}
