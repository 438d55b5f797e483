"""The networks: one paper, one file. `create` builds any published variant by name, untrained."""

import inspect

from torch import nn

from derainlib.errors import DerainError
from derainlib.models import dcdnet, qsnet, recurrent

PAPERS = (qsnet, dcdnet, recurrent)
"""The papers' modules. Each has VARIANTS: name → (class, options that differ from the class's defaults)."""

VARIANTS = {name: variant for paper in PAPERS for name, variant in paper.VARIANTS.items()}


def list_models() -> list[str]:
    """The names that `create` accepts: the networks and their published variants."""
    return list(VARIANTS)


def create(name: str, **options) -> nn.Module:
    """Builds the network called `name`, untrained.

    Args:
        name: one of `list_models()`.
        options: changes to the variant, for example `stages=8`; the names are the class's arguments.

    Returns:
        A module that maps (N, 3, H, W) in [0, 1] to `Layers`; `.name` and `.options` rebuild it.

    Raises:
        DerainError: an unknown name or option.
    """
    if name not in VARIANTS:
        raise DerainError(f"no network is called {name!r}; there are {', '.join(VARIANTS)}")
    build, fixed = VARIANTS[name]
    known = list(inspect.signature(build).parameters)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise DerainError(f"{name} has no option {', '.join(unknown)}; it takes {', '.join(known)}")
    model = build(**fixed | options)
    model.name, model.options = name, options
    return model
