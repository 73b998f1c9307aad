"""A small net of PyTorch after two steps of training: `checkpoint.pt`, its state dict as `torch.save` writes it, and
what it makes of a batch in evaluation."""

import os
import pathlib

import golden
import torch
from training import sixteenths


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3)
        self.bn = torch.nn.BatchNorm2d(4)
        self.fc = torch.nn.Linear(36, 6)
        self.norm = torch.nn.LayerNorm(6)
        self.head = torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.BatchNorm1d(3, momentum=None))

    def forward(self, x):
        hidden = torch.relu(self.bn(self.conv(x))).flatten(1)
        return self.head(self.norm(self.fc(hidden)))


def cases():
    torch.manual_seed(9)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.randn(8, 1, 5, 5)).square().sum().backward()
        optimizer.step()
    if "TAPER_GOLDEN_OUT" not in os.environ:
        torch.save(net.state_dict(), pathlib.Path(__file__).with_suffix(".pt"))
    net.eval()
    x = sixteenths(torch.randn(3, 1, 5, 5))
    with torch.no_grad():
        single, double = net(x), net.double()(x.double())
    error = (single - double).abs().max() / double.abs().max()
    state = {name: golden.tensor(values) for name, values in net.state_dict().items() if values.numel() < 7}
    case = {"names": list(net.state_dict()), "x": golden.tensor(x), "y": golden.tensor(double)}
    yield case | {"y f32_error": error.item()} | state


golden.write(__file__, list(cases()))
