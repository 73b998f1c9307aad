"""One minus the structural similarity by pytorch-msssim, with a window in the dtype of the images: its own is of f32."""

import itertools

import losses
import pytorch_msssim
import torch

# The package exports the function `ssim` under the name of its module.
module = pytorch_msssim.ssim.__globals__


def window(case, dtype):
    places = torch.arange(case["window_size"], dtype=torch.float64) - case["window_size"] // 2
    weights = torch.exp(-places ** 2 / (2 * case["sigma"] ** 2))
    weights = (weights / weights.sum()).reshape(1, 1, -1)
    torch.testing.assert_close(weights.float(), module["_fspecial_gauss_1d"](case["window_size"], case["sigma"]))
    return weights.to(dtype)


def ssim(case, x):
    kernel = window(case, x.dtype).repeat([x.shape[1], 1, 1, 1])
    each, _ = module["_ssim"](x, case["target"], case["data_range"], kernel, size_average=False,
                              K=(case["k1"], case["k2"]))
    return 1 - (each if case["per_channel"] else each.mean(1))


def cases():
    small, whole = ((2, 2, 4, 5), 3, 1.0), ((1, 1, 11, 12), 11, 1.5)
    chosen = list(itertools.product([small], (False, True), range(4))) + [(whole, False, 0), (whole, True, 1)]
    for (shape, size, sigma), per_channel, turn in chosen:
        data_range = (1.0, 255.0)[turn % 2]
        target = losses.uniform(*shape, high=data_range)
        noisy = losses.sixteenths(0.5 * target + losses.uniform(*shape, high=0.5 * data_range))
        yield {"data_range": data_range, "window_size": size, "sigma": sigma, "k1": (0.01, 0.05)[turn // 2],
               "k2": (0.03, 0.02)[turn // 2], "per_channel": per_channel, "input": noisy, "target": target}


losses.write(__file__, cases, ssim)
