"""Quasi-sparsity, the loss of QSNet: both layers should have few edges, whatever the truth is."""

from torch import Tensor

from derainlib import sparsity
from derainlib.layers import Pair
from derainlib.losses.term import Staged


class QuasiSparsity(Staged):
    """Eq. 8 of QSNet, over a batch Eq. 9: L_Q = Σ_{i,k} |ω_{i,k} ∗ R̂| + |ω_{i,k} ∗ B̂|.

    ω_k are the four filters of `derainlib.sparsity.FILTERS`: first and second derivative, across and down. i runs over
    pixels and channels. It is maximum likelihood under a prior, step by step:

    1. Eq. 2: a derivative x of a photograph follows one Laplacian, P(x) = (π/s) exp(−|x|/s). This is the two
       Laplacians of Eq. 1 made equal: the border between sparse and not, hence "quasi".
    2. Eq. 3: the derivatives are independent, so that an image has P(I) = Π_{i,k} P(ω_{i,k} ∗ I).
    3. Eq. 6: the layers are independent, P(R, B) = P(R) P(B) = Π_{i,k} (π/s)² exp(−(|ω_{i,k} ∗ R| + |ω_{i,k} ∗ B|)/s).
       The paper prints π/s for the constant of each factor; it is dropped next.
    4. Eq. 7: log P = −(1/s) Σ_{i,k} (|ω_{i,k} ∗ R| + |ω_{i,k} ∗ B|) + β. Neither β, the logarithm of all those
       constants, nor the factor 1/s depends on R or B, so the most likely layers minimise the sum, Eq. 8. What 1/s
       would have been is in λ_Q.

    No truth enters. By the triangle inequality L_Q ≥ Σ |ω ∗ O| for all layers with B̂ + R̂ = O, and R̂ = 0 reaches it:
    this loss alone does not take rain away. Averaged over pixels and channels, summed over the filters.
    """

    name = "quasi_sparsity"

    def pixelwise(self, background: Tensor, rain: Tensor, pair: Pair) -> Tensor:
        return sum(
            sparsity.derivatives(layer.to(pair.clean.dtype)).abs().sum(1).mean(1, keepdim=True)
            for layer in (rain, background)
        )
