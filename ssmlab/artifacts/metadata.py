"""Reads and checks a checkpoint file without building its model: metadata, and names and shapes of tensors.

Nothing here imports torch. The file, a few MB, is read once and completely: then the digest and the hash belong to
exactly the bytes that are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from ssmlab.core.errors import UserError
from ssmlab.core.json_text import canonical_json
from ssmlab.core.tensors import (
    DIGEST,
    DamagedTensors,
    TensorFile,
    TensorInfo,
    parse_tensors_file,
    read_tensors_file,
    sealable_metadata,
)
from ssmlab.core.text import printable
from ssmlab.core.validation import first_problem
from ssmlab.params import IMPORTED, NAME, ModelParams, Strict, TrainParams, Which

FORMAT = 2  # format 1 is the same without a digest
SEALED_SINCE = 2
LARGEST_SIDE = 4096  # pixels
MOST_TOKENS = 2**20
LARGEST_WORK = 2**31  # layers x d_state^3: the eigenvectors for S4 and S5 then take about a second
SMALL = 2**21  # elements; tensors up to this size are built even if the file is smaller
KEY = "ssmlab"  # the only metadata key, because safetensors writes several keys in random order
TRAINING = (  # known only for checkpoints that ssmlab trained
    "epoch",
    "train",
    "val_clean",
    "val_robust",
    "selection_split",
    "data_name",
    "data_fingerprint",
    "params_fingerprint",
)


def checked_name(name: str) -> str:
    """A pydantic check for names that become parts of paths."""
    if not NAME.fullmatch(name):
        raise ValueError("must be a name of at most 100 lower-case letters, digits, '.', '_' and '-'")
    return name


Name = Annotated[str, AfterValidator(checked_name)]
ImageSide = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]


class ImportedFile(Strict):
    """The source file of an imported checkpoint: its name without folders, and the SHA-256 of its content."""

    name: str
    sha256: str


class Metadata(Strict):
    """Where a checkpoint comes from, and how to build its model.

    Attributes:
        format: version of this layout.
        study, run, which, epoch: the training and the epoch; imported checkpoints have the study `IMPORTED`.
        model, train: the sections of params.yaml for the run.
        image_shape: (C, H, W) of the model's images.
        classes: number of logits.
        val_clean, val_robust: accuracies in [0, 1] on the selection split at that epoch.
        selection_split: the split on which they were measured.
        data_name, data_fingerprint: the prepared data set.
        params_fingerprint: hash of the run's parameters.
        threads: number of CPU threads per process in the training, which changes the last bits; None if unknown.
        source: the file from which it was imported; None for a checkpoint that ssmlab trained. The training of an
            imported checkpoint is unknown, so everything in `TRAINING` is then None.
        code_version: version of ssmlab.
        constants: names of the tensors that are not trained; `checkpoint.save` sets it.
    """

    format: int = FORMAT
    study: Name
    run: Name
    which: Which
    epoch: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    model: ModelParams
    train: TrainParams | None = None
    image_shape: tuple[ImageSide, ImageSide, ImageSide]
    classes: Annotated[int, Field(ge=1)]
    val_clean: float | None = None
    val_robust: float | None = None
    selection_split: Literal["validation", "test"] | None = None
    data_name: str | None = None
    data_fingerprint: str | None = None
    params_fingerprint: str | None = None
    threads: int | None = None
    source: ImportedFile | None = None
    code_version: str
    constants: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _trained_or_imported(self) -> Self:
        for name in TRAINING:
            known = getattr(self, name) is not None
            if known and self.source:
                raise ValueError(f"{name} is not known for an imported checkpoint")
            if not known and not self.source:
                raise ValueError(f"{name} is missing")
        if (self.study == IMPORTED) != (self.source is not None):
            raise ValueError(f"the study {IMPORTED} is for imported checkpoints only")
        return self

    def header(self) -> dict[str, str]:
        """The metadata entry of the checkpoint file, with space for the digest; equal metadata gives equal text."""
        return {KEY: sealable_metadata(self.plain())}


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint file that was read completely; error messages call it `name`."""

    name: str
    file: TensorFile
    metadata: Metadata

    @property
    def sha256(self) -> str:
        return self.file.sha256

    @property
    def parameters(self) -> int:
        """The number of trained real parameters: the sizes of all tensors except `constants`."""
        constants = self.metadata.constants
        return sum(tensor.elements for name, tensor in self.file.tensors.items() if name not in constants)

    def is_same_model(self, other: CheckpointFile) -> bool:
        """Whether both files hold one model, bit for bit; their runs and epochs may differ."""
        mine, its = self.metadata, other.metadata
        return (mine.model, mine.image_shape, mine.classes) == (its.model, its.image_shape, its.classes) and (
            self.file.tensors == other.file.tensors
            and memoryview(self.file.content)[self.file.data_start :]
            == memoryview(other.file.content)[other.file.data_start :]
        )


def read_checkpoint(path: Path) -> CheckpointFile:
    """Read and check the checkpoint at `path`, including its digest if it has one (format 2).

    Raises:
        UserError: the file is missing, damaged, not a checkpoint of ssmlab or from a newer version, or the sizes in its
            metadata do not fit its tensors.
    """
    if path.is_dir():
        inside = f"name a file in it, such as {path / 'best.safetensors'}"
        raise UserError(f"{path}: a folder, not a checkpoint; {'move it away' if path.suffix else inside}")
    try:
        return check_checkpoint(str(path), read_tensors_file(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint{other_name(path)}") from None
    except DamagedTensors as error:
        raise UserError(f"{path}: {not_whole(error)}") from None


def other_name(path: Path) -> str:
    """The end of the error for a missing checkpoint: the file that was probably meant, or else what to do."""
    meant = (Path(f"{path}.safetensors"), Path("models") / path / "best.safetensors")
    near = next((file for file in meant if file.is_file()), None)
    return f" (did you mean '{near}'?)" if near else "; train the run with `ssmlab repro RUN`, or name another file"


def parse_checkpoint(content: bytes, name: str) -> CheckpointFile:
    """The checkpoint in `content`, checked as by `read_checkpoint`; error messages call it `name`."""
    try:
        return check_checkpoint(name, parse_tensors_file(content))
    except DamagedTensors as error:
        raise UserError(f"{name}: {not_whole(error)}") from None


def not_whole(error: DamagedTensors) -> str:
    return f"not a complete checkpoint ({error}); train the run again or restore the file"


def read_metadata(path: Path) -> Metadata:
    """The metadata of the checkpoint at `path`; raises UserError as `read_checkpoint` does."""
    return read_checkpoint(path).metadata


def count_parameters(path: Path) -> int:
    """`CheckpointFile.parameters` of the checkpoint at `path`; raises UserError as `read_checkpoint` does."""
    return read_checkpoint(path).parameters


def check_checkpoint(name: str, file: TensorFile) -> CheckpointFile:
    """Check the metadata and the sizes of a file that was read.

    Raises:
        UserError: it is not a checkpoint that this version can read.
        DamagedTensors: the digest does not match.
    """
    if KEY not in file.metadata:
        raise UserError(f"{name}: a safetensors file, but not a checkpoint of ssmlab; name one under models/")
    document = file.metadata_object(KEY)
    if "class_names" in document:
        raise UserError(f"{name}: a prepared data set, not a checkpoint; name a file under models/")
    version = document.get("format")
    if not isinstance(version, int) or version < 1:
        raise UserError(
            f"{name}: its metadata cannot be read (no format version); train the run again with this version"
        )
    if version > FORMAT:
        raise UserError(f"{name}: written by a newer ssmlab (format {version}; this one reads {FORMAT}); update ssmlab")
    if version >= SEALED_SINCE:
        file.check_digest(document)
        del document[DIGEST]
    try:
        metadata = Metadata.model_validate_json(canonical_json(document))
    except ValidationError as error:
        raise UserError(
            f"{name}: its metadata cannot be read ({first_problem(error, Metadata)}); train the run again with this "
            "version"
        ) from None
    if problem := size_problem(metadata, file.tensors):
        raise UserError(f"{name}: {problem}; the file is damaged or from another version: train the run again")
    return CheckpointFile(name, file, metadata)


def size_problem(metadata: Metadata, tensors: Mapping[str, TensorInfo]) -> str:
    """Why this metadata does not fit these tensors, as text; empty if it does.

    Building a model with wrong, huge sizes would cost memory and time before its tensors could be compared. So each
    size is first compared with the tensors in the file.
    """
    model, (channels, height, width) = metadata.model, metadata.image_shape
    layers = {name.split(".")[1] for name in tensors if name.startswith("layers.")}
    if len(layers) != model.layers:
        return f"it has tensors of {len(layers)} layers, not {model.layers}"
    for name, shape in {
        "embed.weight": (model.d_model, channels * model.patch**2),
        "head.weight": (metadata.classes, model.d_model),
    }.items():
        if name not in tensors:
            return f"tensor {name} is missing"
        if tensors[name].shape != shape:
            return f"tensor {name} is {tensors[name].shape}, not {shape}"
    if height * width // model.patch**2 > MOST_TOKENS:
        return f"images of {height} x {width} pixels are more than {MOST_TOKENS} tokens"
    if model.layers * model.d_state**3 > LARGEST_WORK:
        return f"model.d_state {model.d_state} is too large for {model.layers} layers"
    own = model.own_section.plain().values() if model.own_section else ()
    inner = [model.d_model, model.d_state, *(size for size in own if isinstance(size, int))]
    total = sum(tensor.elements for tensor in tensors.values())
    if model.d_model * max(inner) > max(SMALL, 4 * total):
        return f"widths of {printable(', '.join(map(str, inner)))} do not fit its {total} numbers"
    return ""
