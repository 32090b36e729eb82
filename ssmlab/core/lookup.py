"""Objects that a table names as text, so that reading the table does not load the modules they are in."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def named_object(where: str) -> Any:
    """The object at `where`, `MODULE:NAME` such as `ssmlab.nets.mega:mega_layer`; its module is imported now.

    Raises:
        ImportError: there is no such module.
        AttributeError: the module has no such name.
    """
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)
