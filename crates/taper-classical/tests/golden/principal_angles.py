"""Angles between subspaces by SciPy, from small and from large."""

import golden
import numpy
from scipy.linalg import subspace_angles

rng = numpy.random.default_rng(6)


def case(name, a, b):
    angles = subspace_angles(numpy.transpose(a), numpy.transpose(b))[::-1]
    return {"name": name, "a": golden.tensor(a), "b": golden.tensor(b), "angles": golden.tensor(angles)}


plane = rng.normal(size=(2, 6))
mixed = numpy.array([[2.0, 1.0], [-1.0, 3.0]]) @ plane

golden.write(
    __file__,
    [
        case("two lines", rng.normal(size=(1, 3)), rng.normal(size=(1, 3))),
        case("three in seven", rng.normal(size=(3, 7)), rng.normal(size=(3, 7))),
        case("two against four", rng.normal(size=(2, 7)), rng.normal(size=(4, 7))),
        case("four against two", rng.normal(size=(4, 7)), rng.normal(size=(2, 7))),
        case("small angles", plane, mixed + 1e-9 * rng.normal(size=(2, 6))),
        case("orthogonal", numpy.eye(5)[:2], numpy.eye(5)[2:]),
        case("one shared axis", numpy.eye(3)[:2], [[1, 0, 0], [0, 4, 3]]),
        case("a common space", rng.normal(size=(3, 4)), rng.normal(size=(3, 4))),
        case("of other lengths", 1e6 * rng.normal(size=(2, 5)), 1e-6 * rng.normal(size=(2, 5))),
    ],
)
