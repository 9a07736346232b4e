"""Prints the golden values of internal/rng's tests, from a second implementation: SHA-256 keys, ChaCha8 as in
C2SP chacha8rand, and the same rules for bounded integers, normals and permutations. Python 3 alone.
usage: python3 rng.py"""
import hashlib
import math
import struct

VERSION = b"deeplora-rng-1"
MASK = 0xFFFFFFFF


def named(seed, *names):
    text = VERSION + struct.pack("<Q", seed)
    for name in names:
        text += struct.pack("<Q", len(name.encode())) + name.encode()
    return hashlib.sha256(text).digest()


def at(key, index):
    return hashlib.sha256(b"at:" + VERSION + b":" + key + struct.pack("<Q", index)).digest()


def rotate(x, n):
    return ((x << n) | (x >> (32 - n))) & MASK


def quarter(s, a, b, c, d):
    for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & MASK
        s[z] = rotate(s[z] ^ s[x], n)


ROUNDS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
          (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def block(key, counter):
    s = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574] + key + [counter, 0, 0, 0]
    for _ in range(4):
        for q in ROUNDS:
            quarter(s, *q)
    return s[:4] + [(w + k) & MASK for w, k in zip(s[4:12], key)] + s[12:]


def words(seed):
    while True:
        key, out = list(struct.unpack("<8I", seed)), b""
        for group in range(0, 16, 4):
            blocks = [block(key, group + j) for j in range(4)]
            out += b"".join(struct.pack("<4I", *(b[i] for b in blocks)) for i in range(16))
        yield from struct.unpack("<124Q", out[:992])
        seed = out[992:]


class Stream:
    def __init__(self, key):
        self.words, self.spare = words(key), None

    def uint64(self):
        return next(self.words)

    def int_n(self, n):
        while True:
            high, low = divmod(self.uint64() * n, 1 << 64)
            if low >= (1 << 64) % n:
                return high

    def float64(self):
        return (self.uint64() >> 11) * 2.0**-53

    def normal(self):
        if self.spare is not None:
            x, self.spare = self.spare, None
            return x
        while True:
            u, v = 2 * self.float64() - 1, 2 * self.float64() - 1
            q = u * u + v * v
            if 0 < q < 1:
                scale = math.sqrt(-2 * math.log(q) / q)
                self.spare = v * scale
                return u * scale

    def perm(self, n):
        order = list(range(n))
        for i in range(n - 1, 0, -1):
            j = self.int_n(i + 1)
            order[i], order[j] = order[j], order[i]
        return order


first = [s.uint64() for s in [Stream(named(0))] for _ in range(300)]
print("New(0) words 0, 1, 299:", *map(hex, (first[0], first[1], first[299])))
s = Stream(named(1, "init", "bert.pooler.dense"))
print('New(1, "init", "bert.pooler.dense"):', hex(s.uint64()), hex(s.uint64() >> 32))
s = Stream(at(named(7, "a"), 3))
print('New(7, "a").At(3) word, IntN(1000), Float64:', hex(s.uint64()), s.int_n(1000), repr(s.float64()))
s = Stream(named(7, "big"))
print('New(7, "big").IntN(3<<61):', [s.int_n(3 << 61) for _ in range(6)])
s = Stream(named(7, "normal"))
print('New(7, "normal").Normal():', [s.normal() for _ in range(4)])
print('New(7, "perm").Perm(10):', Stream(named(7, "perm")).perm(10))
