"""Checkpoints: a model's tensors and one metadata entry in a safetensors file; equal state gives equal bytes."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from ssmlab.artifacts.metadata import Metadata, open_checkpoint, parse_metadata
from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier


def save(path: Path, model: nn.Module, metadata: Metadata) -> None:
    """Write `model`'s state dict and `metadata`, atomically and durably, from whatever device the model is on.

    Raises:
        UserError: the disk is full or the folder cannot be written; an earlier file is then untouched.
    """
    write_atomic(path, content(model, metadata))


def content(model: nn.Module, metadata: Metadata) -> bytes:
    """The bytes of the checkpoint file that `save` writes."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    metadata = metadata.model_copy(update={"constants": tuple(sorted(state.keys() - trained))})
    return safetensors.torch.save(state, metadata=metadata.header())


def load(path: Path | str, device: str | torch.device = "cpu") -> tuple[Classifier, Metadata]:
    """The model of a checkpoint, in eval mode on `device`, and what the file says of it.

    Returns:
        A module from images (B, C, H, W) float32 in [0, 1] to logits (B, classes), and the metadata.

    Raises:
        UserError: the file is missing, truncated, foreign or newer, or its tensors are not those of its model.
    """
    path = Path(path)
    with open_checkpoint(path, "pt", str(device)) as file:
        metadata = parse_metadata(file.metadata(), path)
        state = {name: file.get_tensor(name) for name in file.offset_keys()}
    model = build(metadata.model, metadata.image_shape, metadata.classes, seed=0).to(device)
    difference = first_difference(model.state_dict(), state)
    if difference:
        raise UserError(f"{path}: {difference}; the file is damaged or of another version: train the run again")
    model.load_state_dict(state)
    return model.eval(), metadata


def first_difference(expected: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    """How the names, shapes or types of two state dicts differ, in a few words; empty if they do not."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"tensor {name} is missing"
        if name not in expected:
            return f"tensor {name} is not part of the model"
        here, there = found[name], expected[name]
        if here.shape != there.shape or here.dtype != there.dtype:
            return f"tensor {name} is {here.dtype} {tuple(here.shape)}, not {there.dtype} {tuple(there.shape)}"
    return ""
