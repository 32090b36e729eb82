"""One checkpoint file under attacks that no params.yaml names; not a stage of DVC's, and it writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ssmlab.artifacts.checkpoint import load
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, silence
from ssmlab.data.dataset import load_data
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.results import Evaluation
from ssmlab.params import Norm
from ssmlab.params.written_float import WrittenFloat


def evaluate_checkpoint(
    path: Path,
    data: str,
    eps: WrittenFloat,
    attacks: Sequence[str],
    images: int | None = None,
    norm: Norm = "linf",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    on_event: Listener = silence,
) -> Evaluation:
    """Measure a checkpoint on the test images of a data set, clean and attacked, as `ssmlab.evaluate` does.

    Args:
        data: a prepared data set, or the name of a study whose data set is prepared.
        images: how many test images, from the first one on; None for all.

    Raises:
        UserError: the file, the data or an attack is not as described, or the images do not suit the model.
    """
    model, metadata = load(path)
    dataset = load_data(data)
    if tuple(dataset.image_shape) != tuple(metadata.image_shape):
        shapes = f"it takes images of {metadata.image_shape}, and those of {data} are {dataset.image_shape}"
        raise UserError(f"{path}: {shapes}; name other data with --data")
    x, y = dataset.test.tensors(images)
    return evaluate(model, x, y, attacks=attacks, eps=eps, norm=norm, device=device, on_event=on_event)
