"""Turning checkpoints of the published code into checkpoints of ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssmlab.artifacts.checkpoint import first_difference, save
from ssmlab.artifacts.metadata import ImportedFile, Metadata, read_metadata
from ssmlab.core.errors import UserError
from ssmlab.core.files import sha256_file
from ssmlab.core.version import __version__
from ssmlab.nets.build import build
from ssmlab.nets.classifier import Classifier
from ssmlab.params import IMPORTED, NAME, ModelParams
from ssmlab.published.image_shape import published_image_shape
from ssmlab.published.model_sizes import AdsActivation, published_params
from ssmlab.published.read_tensors import read_state_dict
from ssmlab.published.state_dict import published_to_ours, without_prefix


@dataclass(frozen=True)
class Imported:
    """The result of an import: the checkpoint's file, its metadata, and its number of trainable parameters."""

    path: Path
    metadata: Metadata
    parameters: int


def import_checkpoint(
    file: Path, act: AdsActivation | None = None, image_size: int | None = None, to: Path | None = None
) -> Imported:
    """Read a state dict of the published code from `file` and write `to`/best.safetensors, a checkpoint like any other.

    Args:
        file: `.pt`, `.pth` or `.safetensors`.
        act: the activation of its AdS; give it if, and only if, the model has AdS.
        image_size: the side of its square images; required unless its tensors tell it (Mega).
        to: a folder; by default models/imported/NAME, where NAME comes from the file's name.

    Raises:
        UserError: `file` cannot be read or is not a state dict of a published model, an argument is missing or does not
            fit it, or `to` holds another checkpoint, which stays untouched.
    """
    folder = to or Path("models") / IMPORTED / name_of(file)
    if not NAME.fullmatch(folder.name) or folder.suffix == ".safetensors":
        raise UserError(f"--to {folder}: name a folder in lower-case letters, digits, '.', '_' and '-'")
    tensors = read_state_dict(file)
    source = ImportedFile(name=file.name, sha256=sha256_file(file))
    target = folder / "best.safetensors"
    check_free(target, source)
    try:
        model, params, image_shape = published_model(tensors, act, image_size)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    metadata = Metadata(
        study=IMPORTED,
        run=folder.name,
        which="best",
        model=params,
        image_shape=image_shape,
        classes=model.head.out_features,
        source=source,
        code_version=__version__,
    )
    save(target, model, metadata)
    return Imported(target, metadata, sum(parameter.numel() for parameter in model.parameters()))


def published_model(
    tensors: Mapping[str, Tensor], act: AdsActivation | None, image_size: int | None
) -> tuple[Classifier, ModelParams, tuple[int, int, int]]:
    """The model of a published state dict, its params, and the shape (C, H, W) of its images.

    Raises:
        UserError: `tensors` is not such a state dict, or an argument does not fit it.
    """
    state = without_prefix(tensors)
    params = published_params(state, act)
    image_shape = published_image_shape(state, image_size)
    ours = published_to_ours(state)
    for name, tensor in ours.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"tensor {name} holds values that are not finite: its training had diverged")
    head = ours.get("head.weight")
    if head is None or head.shape[1:] != (params.d_model,):
        raise UserError(f"output.weight must be (classes, {params.d_model})")
    model = build(params, image_shape, len(head), seed=0)
    difference = first_difference(model.state_dict(), ours)
    if difference:
        raise UserError(f"not a state dict of the published {params.mixer}: {difference} (under the names of ssmlab)")
    model.load_state_dict(ours)
    return model.eval(), params, image_shape


def name_of(file: Path) -> str:
    """A name for the checkpoint, made from its file's name."""
    name = re.sub(r"[^a-z0-9._-]+", "-", file.stem.lower()).lstrip("._-")
    if not name:
        raise UserError(f"{file}: cannot be used as a name; give a folder with --to models/{IMPORTED}/NAME")
    return name


def check_free(target: Path, source: ImportedFile) -> None:
    """Raises UserError if `target` exists and was not made from `source`."""
    if not target.exists():
        return
    found = read_metadata(target).source
    if found is None or found.sha256 != source.sha256:
        holds = "a checkpoint that was trained here" if found is None else f"the import of another file, {found.name}"
        raise UserError(f"{target}: holds {holds}; name another folder with --to models/{IMPORTED}/NAME")
