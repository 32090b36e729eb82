"""Compares the outputs of our models with outputs that were computed with the published code.

A case is a safetensors file with the state dict under `param.`, images `x`, labels `y`, and the published code's
results: `logits`, `grad_x` (of the mean cross entropy) and, for layers with a kernel, `kernel.<i>`. The model passes
through all steps of an import: it is read, translated, saved as a checkpoint, loaded and frozen.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmlab.artifacts.checkpoint import load
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Progress, silence
from ssmlab.nets.ssm_block import LinearSsm, SsmBlock
from ssmlab.published.agreement import Agreement
from ssmlab.published.import_checkpoint import import_checkpoint
from ssmlab.published.model_sizes import AdsActivation
from ssmlab.published.read_tensors import read_state_dict

CASE_ACTIVATIONS: dict[str, AdsActivation] = {
    "relu": "relu",
    "sgmd": "sigmoid",
    "tanh": "tanh",
}  # as the cases spell them


def parity(folder: Path, listen: Listener = silence) -> list[Agreement]:
    """The agreement of every case in `folder`, sorted by name; raises UserError if there is none or one is damaged."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        what = "has no .safetensors files" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: {what}; name a folder of parity vectors")
    found = []
    for i, file in enumerate(files):
        listen(Progress("parity", i, len(files)))
        found.append(agreement(file))
    listen(Progress("parity", len(files), len(files)))
    return found


def agreement(file: Path) -> Agreement:
    """The agreement of one case; raises UserError if the file is not a case."""
    case = read_state_dict(file)
    missing = next((name for name in ("x", "y", "logits", "grad_x") if name not in case), None)
    if missing or case["x"].ndim != 4:
        raise UserError(f"{file}: not a parity case ({missing or 'images'} missing)")
    act = next((ours for theirs, ours in CASE_ACTIVATIONS.items() if f"ads_{theirs}" in file.stem), None)
    with tempfile.TemporaryDirectory(prefix="ssmlab-") as temporary:
        imported = import_checkpoint(file, act, case["x"].shape[-1], Path(temporary) / "case")
        model, _ = load(imported.path)
    forms = [errors(form, case) for form in (model, model.freeze())]
    length = case["x"][0, 0].numel()
    kernels = [
        relative(block.ssm.kernel(length), case[f"kernel.{i}"][0])
        for i, block in enumerate(each for each in model.modules() if isinstance(each, SsmBlock))
        if f"kernel.{i}" in case and isinstance(block.ssm, LinearSsm)
    ]
    return Agreement(
        case=file.stem,
        parameters=imported.parameters,
        logits=max(logits for logits, _ in forms),
        kernel=max(kernels, default=None),
        gradient=max(gradient for _, gradient in forms),
    )


def errors(model: nn.Module, case: Mapping[str, Tensor]) -> tuple[float, float]:
    """The relative errors of logits (B, classes) and input gradients (B, C, H, W)."""
    x = case["x"].clone().requires_grad_()
    logits = model(x)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, case["y"]), x)
    return relative(logits, case["logits"]), relative(gradient, case["grad_x"])


def relative(ours: Tensor, theirs: Tensor) -> float:
    """|ours - theirs| / |theirs| in the L2 norm; infinity instead of NaN, which a maximum could hide."""
    error = ((ours.detach() - theirs).norm() / theirs.norm()).item()
    return math.inf if math.isnan(error) else error
