"""Finds the device for the setting `device: auto | cpu | cuda`."""

from __future__ import annotations

import torch

from ssmlab.core.errors import UserError


def resolve_device(wanted: str) -> torch.device:
    """The device for the setting `wanted`; `auto` means CUDA if torch finds a CUDA device, else the CPU.

    Raises:
        UserError: `wanted` is not one of the three, or it is `cuda` and torch finds no CUDA device.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise UserError(f"device '{wanted}' is not known; use auto, cpu or cuda")
    cuda = torch.cuda.is_available()
    if wanted == "cuda" and not cuda:
        raise UserError("device cuda: torch finds no CUDA device; use `device: auto` or `--device cpu`")
    return torch.device("cuda" if cuda and wanted != "cpu" else "cpu")
