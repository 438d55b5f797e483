"""The multi-scale auxiliary loss of QSNet: every decoder of one scale should already find the background."""

from torch import Tensor

from derainlib.errors import DerainError
from derainlib.layers import Layers, Pair
from derainlib.losses.term import Term


class Auxiliary(Term):
    """Eq. 12 of QSNet: L_A = (1/5) Σ_i Σ_t ‖I_t − A_i(F_{t,i}) − B_t‖²_F, here over the decoders that a network has.

    The paper says that A_i decodes an image without rain, and prints a minus sign that only fits a decoder of *rain*.
    The formula is followed: A_i gives rain, I − A_i the background of scale i, and the loss is the squared error of
    that background. The network hands these backgrounds over as `layers.extras["decoded_1"]`, `["decoded_2"]`, ….

    Raises:
        DerainError: when called, if the network keeps no decodings.
    """

    name = "auxiliary"

    def picture(self, layers: Layers, pair: Pair) -> Tensor:
        decoded = layers.kept("decoded_i")
        if not decoded:
            raise DerainError(
                "the auxiliary loss needs decodings of single scales: call a network that has auxiliary decoders "
                "(qsnet with auxiliary=True) with keep=True"
            )
        return sum((image - pair.clean).square().mean(1, keepdim=True) for image in decoded) / len(decoded)
