"""Compares golden files that were made anew with those beside their scripts.

`compare.py FRESH` reads `FRESH/<crate>/<name>.json` and `crates/<crate>/tests/golden/<name>.json`. A
real number agrees within TOLERANCE of the largest magnitude in its list, since another processor adds
in another order, or within NOISE; everything else agrees exactly. Which versions made a file is not compared.
"""

import json
import pathlib
import sys

TOLERANCE = 1e-6
# What is smaller is the rounding of a 0.
NOISE = 1e-24


def differences(there, fresh, place, scale=1.0):
    """Where the two disagree, as lines."""
    if isinstance(there, float) and isinstance(fresh, (float, int)):
        if abs(there - fresh) > max(TOLERANCE * scale, NOISE):
            yield f"{place}: {there} there, {fresh} now"
    elif isinstance(there, dict) and isinstance(fresh, dict) and there.keys() == fresh.keys():
        for key in there:
            yield from differences(there[key], fresh[key], f"{place}.{key}", magnitude([there[key]]))
    elif isinstance(there, list) and isinstance(fresh, list) and len(there) == len(fresh):
        for index, (left, right) in enumerate(zip(there, fresh)):
            yield from differences(left, right, f"{place}[{index}]", magnitude(there))
    elif there != fresh:
        yield f"{place}: {str(there)[:80]} there, {str(fresh)[:80]} now"


def magnitude(values):
    """The largest magnitude among the numbers of a list; 1 where there is none or all are 0."""
    return max((abs(value) for value in values if isinstance(value, (float, int))), default=0) or 1.0


def main(folder):
    found = []
    files = sorted(pathlib.Path(folder).glob("*/*.json"))
    for path in files:
        committed = pathlib.Path("crates", path.parent.name, "tests/golden", path.name)
        if not committed.is_file():
            found.append(f"{committed}: not there")
            continue
        cases = (json.loads(file.read_text(encoding="utf-8"))["cases"] for file in (committed, path))
        found.extend(differences(*cases, str(committed)))
    for line in found[:20]:
        print(line)
    if found:
        sys.exit(f"{len(found)} differences; `cargo xtask goldens` writes the files anew")
    print(f"{len(files)} golden files agree within {TOLERANCE} of the largest magnitude in each list")


if __name__ == "__main__":
    main(sys.argv[1])
