"""A photograph gets rain, a network takes it off again, and a notebook shows why it works.

    import derainlib
    derainlib.derain("street.jpg").save("dry.jpg")

The names below are the public face. Each is imported when it is first used, so that `import derainlib` is quick.
"""

import importlib
import importlib.util

__version__ = "0.1.0"

_HOMES = {
    "derain": "inference",
    "derain_folder": "inference",
    "create": "models",
    "list_models": "models",
    "load": "models.weights",
    "read": "images",
    "write": "images",
    "add_rain": "rain",
    "psnr": "metrics",
    "ssim": "metrics",
    "Pair": "layers",
    "Layers": "layers",
    "DerainError": "errors",
}
"""Where each public name lives."""

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(f"derainlib.{_HOMES[name]}"), name)
    if not name.startswith("_") and importlib.util.find_spec(f"derainlib.{name}"):
        return importlib.import_module(f"derainlib.{name}")
    raise AttributeError(f"module 'derainlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
