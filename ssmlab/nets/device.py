"""From the setting `device: auto | cpu | cuda` to the device."""

from __future__ import annotations

import torch

from ssmlab.core.errors import UserError


def resolve_device(wanted: str) -> torch.device:
    """The device meant by `wanted`: `auto` is CUDA where there is one.

    Raises:
        UserError: it is not one of the three, or is `cuda` where there is none.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise UserError(f"device '{wanted}' is not known; use auto, cpu or cuda")
    cuda = torch.cuda.is_available()
    if wanted == "cuda" and not cuda:
        raise UserError("device cuda is requested, but torch finds none; use `device: auto` or `--device cpu`")
    return torch.device("cuda" if cuda and wanted != "cpu" else "cpu")
