"""The networks: one paper, one file. `create` builds any published variant by name, untrained."""

import inspect

from torch import nn

from derainlib.errors import DerainError
from derainlib.models import dcdnet, menet, phpnet, qsnet, recurrent, segmentation

PAPERS = (qsnet, phpnet, dcdnet, recurrent, menet, segmentation)
"""The papers' modules. Each has VARIANTS: name → (class, options that differ from the class's defaults); some have
SEGMENTERS, of the same form, which name what a picture shows and take no rain off."""

VARIANTS = {name: variant for paper in PAPERS for name, variant in paper.VARIANTS.items()}
SEGMENTERS = {name: variant for paper in PAPERS for name, variant in getattr(paper, "SEGMENTERS", {}).items()}


def list_models() -> list[str]:
    """The networks that take rain off, and their published variants; `create` also knows the names of SEGMENTERS."""
    return list(VARIANTS)


def create(name: str, **options) -> nn.Module:
    """Builds the network called `name`, untrained.

    Args:
        name: one of `list_models()`, or a segmenter ("phi", "espnet", "pspnet").
        options: changes to the variant, for example `stages=8`; the names are the class's arguments.

    Returns:
        A module that maps (N, 3, H, W) in [0, 1] to `Layers`; `.name` and `.options` rebuild it.

    Raises:
        DerainError: an unknown name or option.
    """
    networks = VARIANTS | SEGMENTERS
    if name not in networks:
        raise DerainError(f"no network is called {name!r}; there are {', '.join(networks)}")
    build, fixed = networks[name]
    known = list(inspect.signature(build).parameters)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise DerainError(f"{name} has no option {', '.join(unknown)}; it takes {', '.join(known)}")
    model = build(**fixed | options)
    model.name, model.options = name, options
    return model
