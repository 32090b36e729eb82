"""`ssmlab export RUN MODEL.onnx`: a checkpoint as an ONNX file; not a stage of DVC's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssmlab.artifacts.checkpoint import build_from
from ssmlab.artifacts.metadata import CheckpointFile, Metadata, read_checkpoint
from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.core.json_text import canonical_json
from ssmlab.data.dataset import Dataset, load_dataset
from ssmlab.data.header import read_data_summary
from ssmlab.params.paths import Paths
from ssmlab.stages.onnx_export.onnx_file import OnnxAgreement, compare_with_onnx, onnx_bytes

IMAGES = 100  # images on which both are compared


@dataclass(frozen=True)
class Exported:
    """An ONNX file: its bytes, its shapes, its agreement with the checkpoint, and the images of the comparison."""

    content: bytes
    image_shape: tuple[int, int, int]
    classes: int
    agreement: OnnxAgreement
    images: str


def export_onnx(path: Path, to: Path) -> Exported:
    """Write the checkpoint `path` as the ONNX file `to`.

    Raises:
        UserError: as `make_onnx`, or the file cannot be written; an earlier file is untouched.
    """
    if to.suffix != ".onnx":
        raise UserError(f"{to}: the name of an ONNX file must end in .onnx")
    made = make_onnx(path)
    write_atomic(to, made.content)
    return made


def make_onnx(path: Path) -> Exported:
    """The checkpoint `path` as an ONNX file, for which onnxruntime gives the same logits.

    Both are compared on test images of the checkpoint's data set if it is prepared in this folder, and otherwise on
    random images. With the data set, the metadata of the file also has the names of the classes.

    Raises:
        UserError: the checkpoint is missing or damaged, a package of `ssmlab[onnx]` is not installed, or the logits are
            not the same.
    """
    checkpoint = read_checkpoint(path)
    model, metadata = build_from(checkpoint), checkpoint.metadata
    data = trained_data(metadata)
    images, called = test_images(data) if data else random_images(metadata)
    content = onnx_bytes(model, about(checkpoint, data), f"{path} (mixer {metadata.model.mixer})")
    agreement = compare_with_onnx(model, content, images)
    if not agreement.is_close:
        raise UserError(
            f"{path}: no ONNX file is written, because its logits would differ by {agreement.difference:.1e} from the "
            "checkpoint's; report this with the checkpoint"
        )
    return Exported(content, metadata.image_shape, metadata.classes, agreement, called)


def trained_data(metadata: Metadata) -> Dataset | None:
    """The data set that a checkpoint was trained on, if it is prepared in this folder."""
    path = Paths(metadata.study).prepared
    if metadata.data_fingerprint is None or not path.is_file():
        return None
    here = read_data_summary(path).description.fingerprint
    return load_dataset(path) if here == metadata.data_fingerprint else None


def test_images(data: Dataset) -> tuple[Tensor, str]:
    """The first test images (B, C, H, W) in [0, 1], and a name for them."""
    n = min(IMAGES, len(data.test))
    return data.test.tensors(n)[0], f"{n} test images of {data.name}"


def random_images(metadata: Metadata) -> tuple[Tensor, str]:
    """Images of noise (B, C, H, W) in [0, 1], and a name for them."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(IMAGES, *metadata.image_shape, generator=generator), f"{IMAGES} images of noise"


def about(checkpoint: CheckpointFile, data: Dataset | None) -> dict[str, str]:
    """The origin of the ONNX file, for its metadata; every value is text, and lists and mappings are JSON."""
    metadata = checkpoint.metadata
    known: dict[str, object] = {
        "input": "images (batch, channels, height, width), float32, pixels in [0, 1]",
        "output": "logits (batch, classes), float32",
        "study": metadata.study,
        "run": metadata.run,
        "checkpoint": metadata.which,
        "checkpoint_sha256": checkpoint.sha256,
        "epoch": metadata.epoch,
        "ssmlab": metadata.code_version,
        "data": metadata.data_name,
        "data_fingerprint": metadata.data_fingerprint,
        "imported_from": metadata.source.name if metadata.source else None,
    }
    texts = {key: str(value) for key, value in known.items() if value is not None}
    texts["model"] = canonical_json(metadata.model.plain())
    if data is not None:
        texts["class_names"] = json.dumps(list(data.class_names), ensure_ascii=False)
    return texts
