"""Rain: streaks, and the three ways to lay them on a scene.

A rainy photograph O is a scene B with a layer of streaks R. The papers of this series lay the one on the
other in three ways, all of them in `compose`:

    additive   O = B + R                    QSNet, DCDNet, SRN/BRN, MENET; Rain100L, Rain100H, Rain1400
    screen     O = 1 − (1 − B)(1 − R)       Luo, Xu and Ji 2015, "Removing rain from a single image via
               = B + R − B·R                discriminative sparse coding"; SRN/BRN calls it more realistic
    veil       O = (B + R)·M + A·(1 − M)    Yang et al. 2017, "Deep joint rain detection and removal from a
               M = exp(−β·d)                single image": far rain gathers into mist; depth d, airlight A,
                                            transmission M

The streaks come from one of three renderers (`derainlib.streaks`): drawn one by one, smeared from noise, or taken from
files. Kinds of rain have names (`derainlib.rain_presets`).

Random numbers are drawn on the CPU, one generator per image, in a fixed order and precision, so that an
image's rain depends on its generator alone: not on its neighbours in the batch, the device, or the precision
of rendering. (On a GPU overlapping streaks are added in no fixed order: there the last bits may vary.)

    clean = derainlib.images.read("street.png")[None]
    pair = add_rain(clean, "heavy", [generator(seed=0)])
"""

from collections.abc import Sequence
from math import log

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from derainlib.errors import require
from derainlib.layers import Pair
from derainlib.rain_presets import (  # noqa: F401 (names of this module, too)
    DIRECTIONS,
    FROM_FILES,
    MIXES,
    PRESETS,
    STREETS,
    resolve,
    street,
    wants_layers,
)
from derainlib.rain_styles import COMPOSITIONS, METHODS, RainStyle, Range, Ranges, pick  # noqa: F401 (likewise)
from derainlib.streaks import VISIBLE, Layer, draw_each

LUMINANCE = (0.299, 0.587, 0.114)


def generator(seed: int, epoch: int = 0, index: int = 0) -> torch.Generator:
    """A local source of random numbers for one sample, well mixed from where the sample stands in a training.

    Args:
        seed: of the training, ≥ 0.
        epoch: pass over the data, ≥ 0.
        index: of the sample, ≥ 0.

    Returns:
        A CPU generator; the same three numbers always give the same draws, neighbouring ones unrelated draws.

    Raises:
        DerainError: one of the three is not a whole number ≥ 0.
    """
    require(
        all(isinstance(n, (int, np.integer)) and n >= 0 for n in (seed, epoch, index)),
        f"seed, epoch and index are {seed!r}, {epoch!r}, {index!r}; give whole numbers, none negative",
    )
    # 32 bits are all that torch's CPU generator takes from its seed.
    return torch.Generator().manual_seed(int(np.random.SeedSequence((seed, epoch, index)).generate_state(1)[0]))


def draw(
    style: RainStyle | str,
    size: tuple[int, int],
    generators: Sequence[torch.Generator],
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    layers: Sequence[Layer] = (),
) -> Tensor:
    """A layer of streaks R for each generator.

    Args:
        style: a style, or the name of a preset or a mix.
        size: (H, W) in pixels.
        generators: one CPU generator per image; see `generator`.
        device: where to render.
        dtype: float32, or float64 where the last bit must not depend on the processor.
        layers: rain layers from files, for styles of the method "layers".

    Returns:
        R, (N, 1, H, W), not clipped: overlapping streaks exceed 1. It is ≥ 0, except where a style has grain.

    Raises:
        DerainError: the style is unknown or wants layers and there are none, or the size is not positive.
    """
    return draw_each([resolve(style, g) for g in generators], size, generators, device, dtype, layers)


def veil(
    style: RainStyle | str,
    size: tuple[int, int],
    generators: Sequence[torch.Generator],
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """A veil for each generator, over a smooth depth that is drawn too: far at the top, as in most streets.

    Args:
        style, size, generators, device, dtype: as in `draw`.

    Returns:
        Transmission M = exp(−β·d), (N, 1, H, W), and airlight A, (N, 1, 1, 1), both in [0, 1].

    Raises:
        DerainError: the style is unknown.
    """
    styles = [resolve(style, g) for g in generators]
    depth = torch.cat([_depth(size, g).to(device, dtype) for g in generators])
    haze, airlight = (
        torch.tensor([pick(getattr(s, name), g) for s, g in zip(styles, generators, strict=True)], dtype=dtype)
        .to(device)
        .view(-1, 1, 1, 1)
        for name in ("haze", "airlight")
    )
    return torch.exp(-haze * depth), airlight


def _depth(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A smooth depth map d in [0, 1], (1, 1, H, W): far at the top, with gentle hills and valleys."""
    hills = torch.rand(1, 1, 4, 4, generator=generator, dtype=torch.float64)
    slope = torch.linspace(1, 0, 4, dtype=torch.float64)[:, None]
    coarse = 0.6 * slope + 0.4 * hills
    return F.interpolate(coarse, size=tuple(size), mode="bicubic", align_corners=True).clamp_(0, 1)


def location(streaks: Tensor, threshold: float = VISIBLE) -> Tensor:
    """The rain map L: where the luminance of the streaks exceeds a threshold.

    Args:
        streaks: R, (N, 1 or 3, H, W).
        threshold: τ, on the scale of the image.

    Returns:
        L, (N, 1, H, W), 1 where it rains and 0 elsewhere, in the streaks' dtype.
    """
    if streaks.shape[1] == 3:
        streaks = torch.einsum("nchw,c->nhw", streaks, streaks.new_tensor(LUMINANCE))[:, None]
    return (streaks > threshold).to(streaks.dtype)


def compose(
    clean: Tensor,
    streaks: Tensor,
    how: str = "additive",
    transmission: Tensor | None = None,
    airlight: Tensor | float | None = None,
) -> Tensor:
    """Lay streaks R on a scene B; the module's head states the three equations and their papers.

    Args:
        clean: B, (N, 3, H, W) in [0, 1].
        streaks: R, (N, 1 or 3, H, W). The screen blend takes what exceeds 1 as 1.
        how: `"additive"`, `"screen"` or `"veil"`.
        transmission: M in [0, 1], broadcastable to B; the veil only.
        airlight: A in [0, 1], broadcastable to B; the veil only.

    Returns:
        O, (N, 3, H, W), not clipped.

    Raises:
        DerainError: the composition is unknown, or the veil lacks its transmission or airlight.
    """
    if how == "additive":
        return clean + streaks
    if how == "screen":
        return 1 - (1 - clean) * (1 - streaks.clamp(max=1))
    require(how == "veil", f"composition is {how!r}; choose one of {', '.join(COMPOSITIONS)}")
    require(transmission is not None and airlight is not None, "the veil needs a transmission and an airlight")
    return (clean + streaks) * transmission + airlight * (1 - transmission)


def add_rain(
    clean: Tensor,
    style: RainStyle | str,
    generators: Sequence[torch.Generator],
    layers: Sequence[Layer] = (),
) -> Pair:
    """Let it rain on clean photographs.

    Args:
        clean: B, (N, 3, H, W) in [0, 1], float32 or float64, on any device; the rain is rendered there.
        style: a style, or the name of a preset; the name of a mix (`MIXES`) picks a preset for each image.
        generators: one CPU generator per image; see `generator`.
        layers: rain layers from files, for styles of the method "layers".

    Returns:
        The pair: rainy clipped to [0, 1], clean, the streaks as drawn, and their location map.

    Raises:
        DerainError: the style is unknown or wants layers and there are none, or the shapes do not fit.
    """
    require(
        clean.ndim == 4 and clean.shape[1] == 3 and clean.is_floating_point(),
        f"clean is {tuple(clean.shape)} {clean.dtype}; give float images (N, 3, H, W)",
    )
    require(len(generators) == len(clean), f"{len(generators)} generators, {len(clean)} images; give one for each")
    size = clean.shape[-2:]
    styles = [resolve(style, g) for g in generators]
    streaks = draw_each(styles, size, generators, clean.device, clean.dtype, layers)
    rainy = []
    for one, layer, kind, g in zip(clean, streaks, styles, generators, strict=True):
        mist = veil(kind, size, [g], clean.device, clean.dtype) if kind.composition == "veil" else ()
        wet = compose(one[None], layer[None], kind.composition, *mist)
        rainy.append(wet if kind.tone == (0.0, 0.0) else _toned(wet, pick(kind.tone, g)))
    return Pair(torch.cat(rainy).clamp_(0, 1), clean, streaks, location(streaks))


def _toned(image: Tensor, shift: float) -> Tensor:
    """The image under the curve that moves mid-grey by `shift` and leaves black and white, clipped to [0, 1]."""
    return image.clamp(0, 1) ** (log(0.5 + shift) / log(0.5))
