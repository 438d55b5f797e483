"""The two shapes that travel through the house: what data gives (`Pair`), what networks return (`Layers`)."""

import re
from typing import NamedTuple

from torch import Tensor

from derainlib.errors import DerainError

IGNORED = 255
"""The label of pixels without a class: no loss and no score counts them."""


class Extra(NamedTuple):
    """What networks keep beside their layers under one name, a key of `Layers.extras`."""

    shape: str
    """N photographs of H x W pixels; C channels of the network's own, K classes; s is the network's `stride`, i the
    number at the end of the name. Sides are rounded up; MENET's are those of the photograph after it was filled up."""
    meaning: str
    written_by: str
    """Networks, by their names or what these begin with."""
    read_by: str = ""
    """What looks at it in the package, losses by their names; comparisons do where they are on="coarse"."""


EXTRAS = {
    "scale_i": Extra("N, C, H, W", "C_i, the features of scale i", "qsnet"),
    "decoded_i": Extra("N, 3, H, W", "O − A_i(C_i), the background that scale i decodes", "qsnet", "auxiliary"),
    "coarse": Extra("N, 3, H, W", "X^c, the coarse background", "phpnet", "comparisons, semantic, presence"),
    "contrast": Extra("N, 1, H, W", "C_a, a pixel's contrast with its surroundings, 0 to 1", "phpnet, phi"),
    "attention_i": Extra("N, C, H / s, W / s", "the attention of pyramid i, 0 to 1", "phpnet, phi"),
    "logits": Extra("N, K, H, W", "scores of classes", "phpnet-segmentation, phi, espnet, pspnet", "semantic, mIoU"),
    "presence": Extra("N, K", "scores of classes being there at all", "phpnet-objects, phi", "presence"),
    "hidden_i": Extra("N, C, H, W", "h of stage i; of two branches, the background's", "srn, brn, crn"),
    "hidden_rain_i": Extra("N, C, H, W", "h of stage i of the rain branch", "brn, crn"),
    "net_i": Extra("N, C, H / 2**i, W / 2**i", "the encoder's maps net_1 and net_2", "menet"),
    "attention": Extra("N, C", "a, the channels' attention, 0 to 1", "menet"),
    "block_i": Extra("N, C, H / 4, W / 4", "x_i, what residual block i gives", "menet"),
}  # fmt: skip
"""All there are. A network of another package may add its own, so that losses can ask for them."""


class Pair(NamedTuple):
    """A rainy photograph and its truth, as a batch.

    All images are float32 RGB of shape (N, 3, H, W) in [0, 1].

    Attributes:
        rainy: O, the photograph in the rain.
        clean: B, the same scene without rain.
        drawn: the rain R as it was drawn, (N, 1 or 3, H, W), before anything was clipped; only synthetic data knows it.
        location: L, the binary rain map, (N, 1, H, W), 1 where it rains.
        labels: class index of each pixel, (N, H, W) int64, `IGNORED` where it has none.
    """

    rainy: Tensor
    clean: Tensor
    drawn: Tensor | None = None
    location: Tensor | None = None
    labels: Tensor | None = None

    @property
    def rain(self) -> Tensor:
        """The truth for R̂: O − B as stored, after clipping, (N, 3, H, W) in [-1, 1]."""
        return self.rainy - self.clean

    def to(self, device) -> "Pair":
        """The same pair with every tensor on `device`."""
        return Pair(*(None if x is None else x.to(device, non_blocking=True) for x in self))


class Layers(NamedTuple):
    """What every network returns: the photograph O taken apart.

    Attributes:
        background: B̂, (N, 3, H, W), not clamped.
        rain: R̂, (N, 3, H, W); O = B̂ + R̂ except where a network predicts both (BRN).
        stages: B̂ of the first stage to the last; empty unless the network was called with `keep=True`.
        rain_stages: R̂ of the first stage to the last; likewise.
        extras: further tensors by name, which `EXTRAS` lists; None unless kept.
    """

    background: Tensor
    rain: Tensor
    stages: tuple[Tensor, ...] = ()
    rain_stages: tuple[Tensor, ...] = ()
    extras: dict[str, Tensor] | None = None

    def kept(self, name: str) -> list[Tensor]:
        """The extras of a name in `EXTRAS`: one, or with a numbered name several in their order; none if not kept.

        Raises:
            DerainError: an unlisted name.
        """
        if name not in EXTRAS:
            raise DerainError(f"no network keeps {name!r}; there are {', '.join(EXTRAS)}")
        return [extra for key, extra in (self.extras or {}).items() if unnumbered(key) == name]


def unnumbered(key: str) -> str:
    """The name in `EXTRAS` of a key of `Layers.extras`: "decoded_3" → "decoded_i"."""
    return re.sub(r"_\d+$", "_i", key)
