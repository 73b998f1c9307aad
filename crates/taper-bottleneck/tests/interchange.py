"""Takes a ResNet-18 from Taper to torchvision and one from torchvision to Taper, each after a step of training.

By hand, from the root of a checkout, after `cargo xtask goldens taper-bottleneck` has made the virtual environment:

    .venv/bin/python crates/taper-bottleneck/tests/interchange.py

It builds and runs the example `interchange`, which has the other half. Both ways every name must be there (strict), and the
logits in evaluation must agree within 1e-4 of the largest. It is beside the golden scripts and not among them: it writes
nothing that a test reads.
"""

import pathlib
import subprocess
import tempfile

import safetensors.torch
import torch
import torchvision

TOLERANCE = 1e-4


def taper(*arguments):
    command = ["cargo", "run", "--quiet", "-p", "taper-bottleneck", "--example", "interchange", "--"]
    subprocess.run(command + [str(argument) for argument in arguments], check=True)


def from_taper(folder):
    taper("write", folder)
    state = safetensors.torch.load_file(folder / "taper.safetensors")
    network = torchvision.models.resnet18()
    network.load_state_dict(state, strict=True)
    counts = {name: values for name, values in state.items() if name.endswith("num_batches_tracked")}
    assert len(counts) == 20, len(counts)
    assert all(values.dtype == torch.int64 and values.shape == () and values == 1 for values in counts.values())
    batch = safetensors.torch.load_file(folder / "taper-batch.safetensors")
    network.eval()
    with torch.no_grad():
        off = (network(batch["x"]) - batch["logits"]).abs().max() / batch["logits"].abs().max()
    print(f"Taper's weights in torchvision: the logits are off by {off:.1e} of the largest")
    assert off <= TOLERANCE


def to_taper(folder):
    torch.manual_seed(9)
    network = torchvision.models.resnet18()
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    x = torch.randn(4, 3, 64, 64)
    torch.nn.functional.cross_entropy(network(x), torch.tensor([1, 20, 300, 999])).backward()
    optimizer.step()
    network.eval()
    with torch.no_grad():
        logits = network(x)
    safetensors.torch.save_file(network.state_dict(), folder / "torch.safetensors")
    safetensors.torch.save_file({"x": x, "logits": logits}, folder / "torch-batch.safetensors")
    taper("read", folder)


def main():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        from_taper(folder)
        to_taper(folder)


if __name__ == "__main__":
    main()
