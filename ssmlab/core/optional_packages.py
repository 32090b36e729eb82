"""Packages that only some commands need, imported when they are asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ssmlab.core.errors import UserError


def required(module: str, extra: str) -> Any:
    """A module of an optional package; raises UserError that says which extra of ssmlab to install."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise UserError(f"{package} is not installed; run `pip install 'ssmlab[{extra}]'`") from None
