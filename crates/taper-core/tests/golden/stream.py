"""Taper's random streams from their definitions, with nothing of Taper or of the rand crates.

A stream is ChaCha with 12 rounds (Bernstein 2008, 64-bit counter and 64-bit stream number); its
key is the seed's 8 little-endian bytes four times, its stream number the FNV-1a hash of its name.
Numbers are written as the bits of their IEEE form, in hexadecimal.
"""

import math
import struct

import golden
import numpy

MASK32, MASK64 = 2**32 - 1, 2**64 - 1


def fnv1a(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & MASK64
    return value


def quarter(s, a, b, c, d):
    for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & MASK32
        mixed = s[z] ^ s[x]
        s[z] = (mixed << turn | mixed >> (32 - turn)) & MASK32


class Stream:
    def __init__(self, seed, name):
        self.key = struct.unpack("<8I", struct.pack("<Q", seed) * 4)
        self.number = fnv1a(name)
        self.counter, self.words = 0, []

    def block(self):
        constants = struct.unpack("<4I", b"expand 32-byte k")
        nonce = struct.unpack("<4I", struct.pack("<QQ", self.counter, self.number))
        start = [*constants, *self.key, *nonce]
        s = list(start)
        for _ in range(6):
            for column in range(4):
                quarter(s, column, 4 + column, 8 + column, 12 + column)
            for d in range(4):
                quarter(s, d, 4 + (d + 1) % 4, 8 + (d + 2) % 4, 12 + (d + 3) % 4)
        self.counter += 1
        return [(a + b) & MASK32 for a, b in zip(s, start)]

    def next_u64(self):
        while len(self.words) < 2:
            self.words += self.block()
        low, high = self.words.pop(0), self.words.pop(0)
        return high << 32 | low

    def unit(self):
        return (self.next_u64() >> 11) * 2.0**-53

    def below(self, n):
        product = self.next_u64() * n
        while product & MASK64 < 2**64 % n:
            product = self.next_u64() * n
        return product >> 64

    def shuffled(self, n):
        items = list(range(n))
        for last in range(n - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
        return items

    def standard_normal(self):
        """The ziggurat with 256 boxes (Doornik 2005, ZIGNOR)."""
        while True:
            bits = self.next_u64()
            box = bits & 0xFF
            u = (bits >> 12) * 2.0**-51 - 1.0
            x = u * EDGES[box]
            if abs(x) < EDGES[box + 1]:
                return x
            if box == 0:
                raise NotImplementedError("a draw from the tail: choose another seed")
            lower, upper = density(EDGES[box]), density(EDGES[box + 1])
            if upper + (lower - upper) * self.unit() < density(x):
                return x

    def beta(self, a, b):
        x, y = self.log_gamma(a), self.log_gamma(b)
        return 1.0 / (1.0 + math.exp(y - x))

    def log_gamma(self, shape):
        """Marsaglia and Tsang 2000, with a power of a unit for shapes below 1."""
        if shape < 1.0:
            boost = math.log(1.0 - self.unit()) / shape
            return boost + self.log_gamma(shape + 1.0)
        d = shape - 1.0 / 3.0
        while True:
            x = self.standard_normal()
            root = 1.0 + x / math.sqrt(9.0 * d)
            if root <= 0.0:
                continue
            log = math.log(1.0 - self.unit())
            if log < x * x / 2.0 + d - d * root**3 + 3.0 * d * math.log(root):
                return math.log(d) + 3.0 * math.log(root)


def density(x):
    return math.exp(-x * x / 2.0)


def edges():
    """The right edges of the boxes, which all have the same area; the first is the tail's. Where the
    tail begins and the area are Doornik's constants: with the area to more digits all edges move by
    1e-11."""
    last, area = 3.654152885361008796, 0.00492867323399
    found = [area / density(last), last]
    for _ in range(254):
        found.append(math.sqrt(-2.0 * math.log(area / found[-1] + density(found[-1]))))
    return found + [0.0]


EDGES = edges()


def bits64(value):
    return struct.pack(">d", value).hex()


def bits32(value):
    return struct.pack(">f", numpy.float32(value)).hex()


def case(seed, name):
    def draws(n, draw, form):
        stream = Stream(seed, name)
        return [form(draw(stream)) for _ in range(n)]

    return {
        "seed": str(seed),
        "name": name,
        "unit": draws(40, Stream.unit, bits64),
        "standard_normal": draws(40, Stream.standard_normal, bits64),
        "below_10": draws(40, lambda s: s.below(10), str),
        # Close to 3/4 of 2^64: a quarter of the words is drawn again.
        "below_large": draws(10, lambda s: s.below(3 * 2**62 + 1), str),
        "shuffle_20": [str(item) for item in Stream(seed, name).shuffled(20)],
        "uniform_f64": draws(5, lambda s: -1.0 + (2.0 - -1.0) * s.unit(), bits64),
        "uniform_f32": draws(5, lambda s: -1.0 + (2.0 - -1.0) * s.unit(), bits32),
        "normal_f64": draws(5, lambda s: 1.0 + 0.1 * s.standard_normal(), bits64),
        "normal_f32": draws(5, lambda s: 1.0 + 0.1 * s.standard_normal(), bits32),
        # Logarithms differ in their last bits between platforms: compared with a tolerance.
        "beta_0.4_0.4": golden.tensor(draws(20, lambda s: s.beta(0.4, 0.4), float)),
        "beta_2_3": golden.tensor(draws(20, lambda s: s.beta(2.0, 3.0), float)),
        "bernoulli": draws(20, lambda s: float(s.unit() < 0.3), bits32),
    }


golden.write(
    __file__,
    [
        case(seed, name)
        for seed in (7, 0xFEDCBA9876543210)
        for name in ("init", "dropout", "init/fc1.weight")
    ],
)
