"""The detail loss of QSNet: where no rain falls, nothing may be taken away."""

from torch import Tensor

from derainlib import rain as rain_model
from derainlib.layers import Pair
from derainlib.losses.term import Staged


class Detail(Staged):
    """Eq. 11 of QSNet: L_D = Σ |(1 − L) ∘ R̂|, with the location map L, 1 where it rains.

    What a network takes from dry pixels is detail of the background. The paper has L from another network, JORDER,
    which tells where streaks are; here it is the pair's own `location` where the data know it, else where the luminance
    of the rain exceeds the threshold of `derainlib.rain.location`: of the rain as `drawn`, in which there is neither
    mist nor clipping, or where nobody knows it, of O − B as stored. Averaged over all pixels, the rainy ones count as
    zero.
    """

    name = "detail"

    def pixelwise(self, background: Tensor, rain: Tensor, pair: Pair) -> Tensor:
        streaks = pair.rain if pair.drawn is None else pair.drawn
        location = rain_model.location(streaks) if pair.location is None else pair.location
        return (1 - location) * rain.abs().mean(1, keepdim=True)
