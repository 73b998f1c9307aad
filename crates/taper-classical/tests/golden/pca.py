"""PCA by scikit-learn's full SVD: small matrices in every shape, and the digits."""

import golden
import numpy
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

rng = numpy.random.default_rng(5)


def fit(data, k, whiten=False):
    return PCA(n_components=k, whiten=whiten, svd_solver="full").fit(data)


def error(pca, data):
    return float(((data - pca.inverse_transform(pca.transform(data))) ** 2).sum(axis=1).mean())


def case(name, data, k, whiten=False):
    pca = fit(data, k, whiten)
    other = data.mean(axis=0) + rng.normal(size=(3, data.shape[1]))
    codes = rng.normal(size=(2, k))
    return {
        "name": name,
        "data": golden.tensor(data),
        "n_components": k,
        "whiten": whiten,
        "mean": golden.tensor(pca.mean_),
        "components": golden.tensor(pca.components_),
        "explained_variance": golden.tensor(pca.explained_variance_),
        "explained_variance_ratio": golden.tensor(pca.explained_variance_ratio_),
        "other": golden.tensor(other),
        "transformed": golden.tensor(pca.transform(other)),
        "reconstruction_error": error(pca, other),
        "codes": golden.tensor(codes),
        "inverse_transformed": golden.tensor(pca.inverse_transform(codes)),
    }


def digits():
    data = load_digits().data
    pca = fit(data, 10)
    return {
        "name": "digits",
        "n_components": 10,
        "components": golden.tensor(pca.components_),
        "explained_variance": golden.tensor(pca.explained_variance_),
        "explained_variance_ratio": golden.tensor(pca.explained_variance_ratio_),
        "reconstruction_error": error(pca, data),
    }


tall = rng.normal(size=(9, 4)) * [4, 3, 2, 1]
wide = rng.normal(size=(4, 7))
far = rng.normal(size=(8, 3)) * [1, 2, 3] + [1e4, -1e4, 1e6]
thin = numpy.outer(rng.normal(size=8), [1.0, -2.0, 3.0]) + numpy.outer(rng.normal(size=8), [0.5, 0.5, 0.1])

golden.write(
    __file__,
    [
        case("tall, all components", tall, 4),
        case("tall, two components", tall, 2),
        case("tall, whitened", tall, 3, whiten=True),
        case("wide, three components", wide, 3),
        case("wide, whitened", wide, 2, whiten=True),
        case("square", rng.normal(size=(4, 4)), 3),
        case("one feature", rng.normal(size=(5, 1)), 1),
        case("two samples", rng.normal(size=(2, 5)), 1),
        case("far from the origin", far, 2),
        case("of rank two", thin, 2),
        digits(),
    ],
)
