"""Modules that are found, not listed: those of a folder of this package, and those that other packages add.

An installed package adds a network, a loss or a paper by an entry point with the folder's name, in its pyproject.toml:

    [project.entry-points."derainlib.models"]
    sixth = "their_package.network"
    [project.entry-points."derainlib.papers"]
    sixth = "their_package.paper"
"""

import functools
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoints, entry_points
from types import ModuleType


def modules(package: str, first: Sequence[str]) -> list[ModuleType]:
    """The modules in a package of ours, then those that other packages add to it.

    Args:
        package: its name, for example "derainlib.models".
        first: names of modules in it that come before the others, in this order.
    """
    names = [module.name for module in pkgutil.iter_modules(sys.modules[package].__path__)]
    ordered = [*first, *(name for name in names if name not in first)]
    own = [importlib.import_module(f"{package}.{name}") for name in ordered]
    return own + [point.load() for point in _added().select(group=package)]


@functools.cache
def _added() -> EntryPoints:
    """What the installed packages add: looking through all of them takes a third of the time that our modules do."""
    return entry_points()
