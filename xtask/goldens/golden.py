"""Writes golden files: numbers from a reference implementation, for the tests to compare with.

A script `crates/<crate>/tests/golden/<name>.py` ends in `golden.write(__file__, cases)` and so makes
`<name>.json` beside itself: which versions made it, and one case a line. `cargo xtask goldens` runs
them all. Numbers are written with as many digits as identify them; infinities and NaN as strings.
"""

import json
import math
import os
import pathlib
import platform
import sys
from importlib.metadata import version

import numpy


# The packages of requirements.txt, by the modules that scripts import.
PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "keras": "keras",
    "pytorch_metric_learning": "pytorch-metric-learning",
    "pytorch_msssim": "pytorch-msssim",
    "numpy": "numpy",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
}


def tensor(values):
    """A tensor, array or nested list as its shape and its elements in row-major order."""
    if hasattr(values, "detach"):
        values = values.detach()
    values = numpy.asarray(values)
    return {"shape": list(values.shape), "data": values.reshape(-1).tolist()}


def write(script, cases):
    """Writes `cases`, a list of dictionaries, beside `script` under its stem.

    Where TAPER_GOLDEN_OUT names a folder it writes to `<crate>/<stem>.json` in there, for comparison.
    """
    made_by = {"python": platform.python_version()}
    made_by |= {package: version(package) for module, package in PACKAGES.items() if module in sys.modules}
    lines = ",\n".join("    " + json.dumps(_plain(case), allow_nan=False) for case in cases)
    text = '{\n  "made_by": ' + json.dumps(made_by) + ',\n  "cases": [\n' + lines + "\n  ]\n}\n"
    path = pathlib.Path(script).resolve().with_suffix(".json")
    if "TAPER_GOLDEN_OUT" in os.environ:
        # crates/<crate>/tests/golden/<stem>.json
        crate = path.parents[2].name
        path = pathlib.Path(os.environ["TAPER_GOLDEN_OUT"], crate, path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"{path.name}: {len(cases)} cases")


def _plain(value):
    """The value as JSON has it: NaN and the infinities become strings."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
