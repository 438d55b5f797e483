"""The networks: one paper, one file. `create` builds any published variant by name, untrained."""

import inspect

from torch import nn

from derainlib.discovery import modules
from derainlib.errors import DerainError, one_line

VARIANTS: dict[str, tuple] = {}
"""The networks that take rain off: name → (class, options that differ from the class's defaults). Every module in this
folder may have such a table, and modules of other packages may (`derainlib.discovery`)."""
SEGMENTERS: dict[str, tuple] = {}
"""Networks that name what a picture shows and take no rain off, likewise from the modules' SEGMENTERS."""


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
        DerainError: an unknown name or option, or a network that is larger than the memory.
    """
    networks = VARIANTS | SEGMENTERS
    if name not in networks:
        raise DerainError(f"no network is called {name!r}; there are {', '.join(networks)}")
    build, fixed = networks[name]
    known = list(inspect.signature(build).parameters)
    unknown = [option for option in options if option not in known]
    if unknown:
        raise DerainError(f"{name} has no option {', '.join(unknown)}; it takes {', '.join(known)}")
    try:
        model = build(**fixed | options)
    except (RuntimeError, MemoryError) as error:
        raise DerainError(f"{name} with {options} cannot be built: {one_line(error)}") from None
    model.name, model.options = name, options
    return model


# Last, since the module of weights wants `create`.
for _module in modules(__name__, first=("qsnet", "phpnet", "dcdnet", "recurrent", "menet")):
    VARIANTS |= getattr(_module, "VARIANTS", {})
    SEGMENTERS |= getattr(_module, "SEGMENTERS", {})
