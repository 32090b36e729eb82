"""What a checkpoint says of itself, read from the file's header alone: no tensor is loaded, torch is not imported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError, model_validator
from safetensors import SafetensorError, safe_open

from ssmlab.core.errors import UserError
from ssmlab.core.files import canonical_json
from ssmlab.core.validation import first_problem
from ssmlab.params import ModelParams, Strict, TrainParams, Which

FORMAT = 1
KEY = "ssmlab"  # the only metadata key: safetensors writes several in random order
TRAINING = (  # what is known of a checkpoint that was trained here, and of no other
    "epoch",
    "train",
    "val_clean",
    "val_robust",
    "selection_split",
    "data_name",
    "data_fingerprint",
    "params_fingerprint",
)


class Source(Strict):
    """The file that an imported checkpoint was made from: its name without folders, and the SHA-256 of its bytes."""

    name: str
    sha256: str


class Metadata(Strict):
    """Where a checkpoint comes from and how to build its model again.

    Attributes:
        format: version of this layout.
        study, run, which, epoch: which training, and which moment of it.
        model, train: the parameters of the run.
        image_shape: (C, H, W) of the images the model takes; classes: how many logits it gives.
        val_clean, val_robust: accuracies in [0, 1] on the selection split at that epoch.
        selection_split: the split they were measured on.
        data_name, data_fingerprint: the prepared data set.
        params_fingerprint: of the run's parameters.
        threads: how many CPU threads trained it (per process), which decides the last bits; None if that is unknown.
        source: the file it was imported from; None of a checkpoint that was trained here. How an imported one was
            trained is unknown: everything in `TRAINING` is then None.
        code_version: of ssmlab.
        constants: the tensors of the file that are not trained; `checkpoint.save` fills it in.
    """

    format: int = FORMAT
    study: str
    run: str
    which: Which
    epoch: int | None = None
    model: ModelParams
    train: TrainParams | None = None
    image_shape: tuple[int, int, int]
    classes: int
    val_clean: float | None = None
    val_robust: float | None = None
    selection_split: Literal["validation", "test"] | None = None
    data_name: str | None = None
    data_fingerprint: str | None = None
    params_fingerprint: str | None = None
    threads: int | None = None
    source: Source | None = None
    code_version: str
    constants: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _trained_or_imported(self) -> Self:
        for name in TRAINING:
            known = getattr(self, name) is not None
            if known and self.source:
                raise ValueError(f"{name} cannot be known of an imported checkpoint")
            if not known and not self.source:
                raise ValueError(f"{name} is missing")
        return self

    def header(self) -> dict[str, str]:
        """The metadata entry of the checkpoint file; equal metadata gives equal text."""
        return {KEY: canonical_json(self.plain())}


def read_metadata(path: Path) -> Metadata:
    """What the checkpoint at `path` says of itself.

    Raises:
        UserError: the file is missing, truncated, not a checkpoint of ssmlab, or of a newer version.
    """
    with open_checkpoint(path, "numpy") as file:
        return parse_metadata(file.metadata(), path)


def count_parameters(path: Path) -> int:
    """How many real numbers the checkpoint's model trains: the sizes of its tensors, `constants` left out.

    Raises UserError as `read_metadata` does.
    """
    with open_checkpoint(path, "numpy") as file:
        constants = parse_metadata(file.metadata(), path).constants
        return sum(prod(file.get_slice(name).get_shape()) for name in file.offset_keys() if name not in constants)


@contextmanager
def open_checkpoint(path: Path, framework: str, device: str = "cpu") -> Iterator[Any]:
    """An open safetensors file; header and tensors come from one file even if `path` is replaced meanwhile.

    Raises:
        UserError: the file is missing or is not a whole safetensors file.
    """
    try:
        opened = safe_open(path, framework=framework, device=device)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; train the run with `ssmlab train`, or name another") from None
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a whole checkpoint ({reason}); train the run again or restore the file") from None
    with opened as file:
        yield file


def parse_metadata(header: dict[str, str] | None, path: Path) -> Metadata:
    """The checked metadata in a safetensors header; `path` is what errors call the file."""
    text = (header or {}).get(KEY)
    if text is None:
        raise UserError(f"{path}: a safetensors file, but not a checkpoint of ssmlab; name one under models/")
    try:
        version = json.loads(text)["format"]
        if version > FORMAT:
            raise UserError(
                f"{path}: written by a newer ssmlab (format {version}; this one reads {FORMAT}); update ssmlab"
            )
        return Metadata.model_validate_json(text)
    except ValidationError as error:
        reason = first_problem(error)
    except (ValueError, KeyError, TypeError):
        reason = "no format version"
    raise UserError(f"{path}: its metadata cannot be read ({reason}); train the run again with this version")
