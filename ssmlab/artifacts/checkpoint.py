"""Checkpoints: a safetensors file with a model's tensors and one metadata entry. Equal states give equal bytes.

The metadata contains a digest of all other bytes of the file. Every read checks it.
"""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ssmlab.artifacts.metadata import CheckpointFile, Metadata, read_checkpoint
from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.core.tensors import sealed
from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier


def save(path: Path, model: nn.Module, metadata: Metadata) -> None:
    """Write `model`'s state dict and `metadata`, atomically and durably; the model can be on any device.

    Raises:
        UserError: the disk is full or the folder cannot be written; an earlier file is then unchanged.
    """
    write_atomic(path, checkpoint_bytes(model, metadata))


def checkpoint_bytes(model: nn.Module, metadata: Metadata) -> bytes:
    """The bytes of the checkpoint file that `save` writes."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    metadata = metadata.model_copy(update={"constants": tuple(sorted(state.keys() - trained))})
    return sealed(safetensors.torch.save(state, metadata=metadata.header()))


def load(path: Path | str, device: str | torch.device = "cpu") -> tuple[Classifier, Metadata]:
    """Load the model of a checkpoint, in eval mode, and its metadata.

    Args:
        path: the checkpoint, such as models/mnist5k/ads-s0/best.safetensors.
        device: where the model goes, such as "cpu" or "cuda".

    Returns:
        a module from images (B, C, H, W) float32 in [0, 1] to logits (B, classes), and the metadata.

    Raises:
        UserError: the file is missing, damaged, not from ssmlab or from a newer version; its tensors do not fit its
            model; or weights are not finite.
    """
    checkpoint = read_checkpoint(Path(path))
    return build_from(checkpoint, device), checkpoint.metadata


def build_from(checkpoint: CheckpointFile, device: str | torch.device = "cpu") -> Classifier:
    """Build the model of a checkpoint that was read already, in eval mode on `device`.

    Raises:
        UserError: the tensors are damaged, do not fit the model, or are not finite.
    """
    name, metadata = checkpoint.name, checkpoint.metadata
    try:
        state = safetensors.torch.load(checkpoint.file.content)
    except (SafetensorError, KeyError) as error:
        raise UserError(
            f"{name}: not a complete checkpoint ({error}); train the run again or restore the file"
        ) from None
    try:
        model = build(metadata.model, metadata.image_shape, metadata.classes, seed=0)
    except UserError as error:
        raise UserError(f"{name}: its model cannot be built ({error}); train the run again") from None
    if difference := first_difference(model.state_dict(), state):
        raise UserError(f"{name}: {difference}; the file is damaged or from another version: train the run again")
    if broken := first_not_finite(state):
        raise UserError(f"{name}: tensor {broken} contains NaN or infinity, so its outputs are useless; train it again")
    model.load_state_dict(state)
    return model.to(device).eval()


def first_not_finite(state: dict[str, Tensor]) -> str:
    """The name of the first tensor that contains NaN or infinity; empty if there is none."""
    return next((name for name, tensor in sorted(state.items()) if not bool(torch.isfinite(tensor).all())), "")


def first_difference(expected: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    """The first difference in names, shapes or dtypes between two state dicts, as text; empty if there is none."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"tensor {name} is missing"
        if name not in expected:
            return f"tensor {name} is not part of the model"
        here, there = found[name], expected[name]
        if here.shape != there.shape or here.dtype != there.dtype:
            return f"tensor {name} is {here.dtype} {tuple(here.shape)}, not {there.dtype} {tuple(there.shape)}"
    return ""
