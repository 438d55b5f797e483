"""The detail loss of QSNet: where no rain falls, nothing may be taken away."""

from torch import Tensor

from derainlib import rain as rain_model
from derainlib.layers import Pair
from derainlib.losses.term import Staged


class Detail(Staged):
    """Eq. 11 of QSNet: L_D = Σ |(1 − L) ∘ R̂|, with the location map L, 1 where it rains.

    What a network takes from dry pixels is detail of the background. The paper has L from another network, JORDER;
    here it is the pair's own `location` where the data know it, else where the luminance of O − B as stored exceeds
    the threshold of `derainlib.rain.location`. Averaged over all pixels, the rainy ones count as zero.
    """

    name = "detail"

    def pixelwise(self, background: Tensor, rain: Tensor, pair: Pair) -> Tensor:
        location = rain_model.location(pair.rain) if pair.location is None else pair.location
        return (1 - location) * rain.abs().mean(1, keepdim=True)
