"""What the papers' equations are made of, on NumPy arrays in float64, and what networks are compared with them on."""

import numpy as np
import torch

from derainlib.models import create


def array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def convolution(x, weight, bias=None, rate=1, groups=1):
    """Every tap of the kernel by itself, zeros outside: x (…, C, H, W), weight (K, C / groups, side, side)."""
    side, (height, width) = weight.shape[-1], x.shape[-2:]
    reach = side // 2 * rate
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(reach, reach)] * 2)
    parts = weight.reshape(groups, -1, *weight.shape[1:])
    total = np.zeros((*x.shape[:-3], len(weight), height, width)) + (0 if bias is None else bias[:, None, None])
    for row, column in np.ndindex(side, side):
        seen = padded[..., row * rate : row * rate + height, column * rate : column * rate + width]
        seen = seen.reshape(*x.shape[:-3], groups, -1, height, width)
        total += np.einsum("goi,...gihw->...gohw", parts[..., row, column], seen).reshape(total.shape)
    return total


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def seeded(name: str, seed: int = 0, **options) -> torch.nn.Module:
    """A network with seeded weights, a little larger than usual so that every layer counts."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = create(name, **options)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.5)
    return model


def drawn(height: int = 18, width: int = 21, count: int = 1) -> torch.Tensor:
    """A smooth pattern with streaks, the same on every machine, (count, 3, height, width) in [0, 1]."""
    n, c, y, x = np.ogrid[:count, :3, :height, :width]
    pattern = 0.4 + 0.3 * np.sin(0.31 * y + 0.17 * x + c + 2 * n) + 0.3 * ((3 * x + y + n) % 11 == 0)
    return torch.from_numpy(pattern).float()


def noise(height: int = 37, width: int = 21, count: int = 1, seed: int = 1) -> torch.Tensor:
    """Noise, (count, 3, height, width) in [0, 1]."""
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))
