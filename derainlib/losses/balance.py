"""How several loss terms become one number."""

from torch import Tensor, nn

from derainlib.layers import Layers, Pair


class Fixed(nn.Module):
    """Terms added with fixed weights: L = Σ_i w_i L_i; with rain and background terms, Ren et al.'s Eq. 12.

    Args:
        terms: name → loss term.
        weights: name → weight, the same names.
    """

    def __init__(self, terms: dict[str, nn.Module], weights: dict[str, float]):
        super().__init__()
        self.terms, self.weights = nn.ModuleDict(terms), dict(weights)

    def forward(self, layers: Layers, pair: Pair) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, a scalar, and each unweighted term by name (detached, for the log)."""
        values = {name: term(layers, pair) for name, term in self.terms.items()}
        total = sum(self.weights[name] * value for name, value in values.items())
        return total, {name: value.detach() for name, value in values.items()}
