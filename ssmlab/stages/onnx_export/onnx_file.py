"""The ONNX file of a model, and a comparison of onnxruntime with the model."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
from torch import Tensor

from ssmlab.artifacts.outcome import first_line
from ssmlab.core.errors import UserError
from ssmlab.core.optional_packages import required
from ssmlab.core.text import printable
from ssmlab.core.version import __version__
from ssmlab.nets.classifier import Classifier
from ssmlab.nets.shapes import Images
from ssmlab.stages.onnx_export.traceable import traceable

OPSET = 18  # the oldest opset that torch writes without a conversion
TRACED_BATCH = 2  # torch.export treats a batch of one as a constant
CALLS = 3  # different batch sizes in a comparison
TOLERANCE = 1e-4  # of the largest logit, or of 1: float32 in another order of sums gives 1e-7 to 1e-6


def onnx_bytes(model: Classifier, about: Mapping[str, str], name: str) -> bytes:
    """An ONNX file: `images` (batch, C, H, W) float32 in [0, 1] -> `logits` (batch, classes), for any batch.

    Args:
        about: the content of the file's metadata. Paths of the code that made the file are removed.
        name: the name of the model in errors.

    Raises:
        UserError: onnx or onnxscript is not installed, or torch cannot export the model: all mixers of ssmlab can be,
            one of your own may not.
    """
    required("onnx", "onnx")
    required("onnxscript", "onnx")
    images = torch.zeros(TRACED_BATCH, *model.image_shape)
    try:
        with silent_exporter(), torch.no_grad():
            program = torch.onnx.export(
                traceable(model),
                (images,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["images"],
                output_names=["logits"],
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        why = printable(first_line(underlying_error(error)), 300)
        raise UserError(f"{name}: torch {torch.__version__} cannot write it as ONNX ({why})") from None
    assert program is not None
    if not program.model_proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise UserError(f"{name}: cannot be one ONNX file for every batch size, because a layer depends on it")
    return with_metadata(program.model_proto, about).SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def underlying_error(error: Exception) -> Exception:
    """The original error, which torch wraps in pages of advice for its own developers."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


@contextmanager
def silent_exporter() -> Iterator[None]:
    """Inside the block, torch neither logs nor prints its attempts and the packages that are not installed."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)


def with_metadata(proto: Any, about: Mapping[str, str]) -> Any:
    """The file's content with `about` in place of torch's notes, whose stack traces contain paths of this machine."""
    graph = proto.graph
    for noted in (proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del noted.metadata_props[:]
    proto.producer_name, proto.producer_version = "ssmlab", __version__
    for key, value in sorted(about.items()):
        proto.metadata_props.add(key=key, value=value)
    return proto


@dataclass(frozen=True)
class OnnxAgreement:
    """How far onnxruntime and torch agree on `n` images.

    difference: the largest of a logit; largest: the logit of the largest size; same: images with the same class.
    """

    n: int
    difference: float
    largest: float
    same: int

    @property
    def is_close(self) -> bool:
        """Whether the difference can be rounding."""
        return self.difference <= TOLERANCE * max(1.0, self.largest)


def compare_with_onnx(model: Classifier, content: bytes, images: Images) -> OnnxAgreement:
    """Logits of the model and of onnxruntime on images (B, C, H, W), in batches of different sizes.

    Raises UserError if onnxruntime is not installed.
    """
    runtime = required("onnxruntime", "onnx")
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(images)
    parts = [part for part in (images[:1], *images[1:].tensor_split(CALLS - 1)) if len(part)]
    found: Tensor = torch.cat([torch.from_numpy(session.run(None, {"images": part.numpy()})[0]) for part in parts])
    return OnnxAgreement(
        len(images),
        float((found - expected).abs().max()),
        float(expected.abs().max()),
        int((found.argmax(1) == expected.argmax(1)).sum()),
    )
