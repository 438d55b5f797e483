"""The two shapes that travel through the house: what data gives (`Pair`), what networks return (`Layers`)."""

from typing import NamedTuple

from torch import Tensor

IGNORED = 255
"""The label of pixels without a class: no loss and no score counts them."""


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
        extras: further tensors by name (hidden states, per-scale decodings, attention maps …); None unless kept.
    """

    background: Tensor
    rain: Tensor
    stages: tuple[Tensor, ...] = ()
    rain_stages: tuple[Tensor, ...] = ()
    extras: dict[str, Tensor] | None = None
