"""Soft orthogonality by PyTorch's norm of matrices."""

import losses
import torch


def orthogonality(case, x):
    weight = x.flatten(1)
    weight = weight if weight.shape[0] <= weight.shape[1] else weight.T
    gap = weight @ weight.T - torch.eye(len(weight), dtype=x.dtype)
    return torch.linalg.matrix_norm(gap) ** 2


def cases():
    for shape in ((3, 3), (2, 5), (5, 2), (4, 2, 2, 3), (1, 4), (6, 1, 2)):
        for scale in (0.5, 1.0, 3.0):
            yield {"input": losses.normal(*shape, scale=scale)}


losses.write(__file__, cases, orthogonality)
