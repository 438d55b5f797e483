"""Loss terms: one idea, one file. Any network trains with any weighted sum of them."""

from derainlib.discovery import modules
from derainlib.losses.balance import BALANCES, Fixed, GradientBalanced, LossBalanced, Uncertainty
from derainlib.losses.term import Term

_ORDER = ("pixel", "ssim", "quasi_sparsity", "detail", "auxiliary", "perceptual", "charbonnier", "colour", "semantic")

TERMS: dict[str, type[Term]] = {
    term.name: term
    for module in modules(__name__, first=_ORDER)
    for term in vars(module).values()
    if isinstance(term, type) and issubclass(term, Term) and "name" in vars(term)
}
"""The terms by the name that recipes use: the classes of this folder's modules that have a `name`, and those of other
packages (`derainlib.discovery`). A recipe adds the arguments."""

globals().update({term.__name__: term for term in TERMS.values()})  # for `from derainlib.losses import MSE`

__all__ = ["BALANCES", "TERMS", "Fixed", "GradientBalanced", "LossBalanced", "Term", "Uncertainty"]
__all__ += [term.__name__ for term in TERMS.values()]
