"""The digits of scikit-learn, and the content digest by the layout that its documentation states."""

import hashlib
import struct

import golden
from sklearn.datasets import load_digits

digits = load_digits()
images = digits.images.astype("u1")
assert (images == digits.images).all()
labels = digits.target.astype("<u4")

content = b"taper image dataset 1\n"
content += struct.pack("<6Q", len(labels), 1, 8, 8, 16, 10)
content += images.tobytes() + labels.tobytes()

golden.write(
    __file__,
    [
        {
            "name": "digits",
            "content_digest": hashlib.sha256(content).hexdigest(),
            "per_class": [int((labels == k).sum()) for k in range(10)],
            "pixel_sums": images.astype(int).sum(axis=0).reshape(-1).tolist(),
            "last": images[-1].reshape(-1).tolist(),
            "last_label": int(labels[-1]),
        }
    ],
)
