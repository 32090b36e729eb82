"""Attacks on one checkpoint file, without params.yaml. This is not a stage of DVC, and writes no results file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ssmlab.artifacts.checkpoint import load
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, silence
from ssmlab.core.files import sha256_file
from ssmlab.data.dataset import load_data
from ssmlab.evaluation.adversarials import AdversarialFolder, Recheck, recheck_adversarials
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.evaluation.results import Evaluation
from ssmlab.params import Norm
from ssmlab.params.paths import Paths
from ssmlab.params.written_float import WrittenFloat
from ssmlab.stages.trained_run import CHECKPOINTS

RECHECK_BATCH = 37  # another size than in an evaluation, so that rounding that depends on the batch becomes visible


def evaluate_checkpoint(
    path: Path,
    data: str,
    eps: WrittenFloat,
    attacks: Sequence[str],
    images: int | None = None,
    norm: Norm = "linf",
    save_to: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    on_event: Listener = silence,
) -> Evaluation:
    """Measure a checkpoint on the test images of a data set, clean and attacked, as `ssmlab.evaluate` does.

    Args:
        data: a prepared data set, or the name of a study whose data set is prepared.
        save_to: a folder for the adversarial images, one file per attack (`ssmlab.evaluation.adversarials`).
        images: number of test images, the first ones; None for all.

    Raises:
        UserError: the file, the data or an attack is not as described, or the images do not suit the model.
    """
    model, metadata = load(path)
    dataset = load_data(data)
    if tuple(dataset.image_shape) != tuple(metadata.image_shape):
        shapes = f"it takes images of {metadata.image_shape}, and those of {data} are {dataset.image_shape}"
        raise UserError(f"{path}: {shapes}; name other data with --data")
    x, y = dataset.test.tensors(images)
    saved = AdversarialFolder(save_to, sha256_file(path)) if save_to else None
    return evaluate(
        model, x, y, attacks=attacks, eps=eps, norm=norm, device=device, save_adversarials=saved, on_event=on_event
    )


def recheck_checkpoint(path: Path, folder: Path) -> list[Recheck]:
    """Test a checkpoint again on images that were saved for it; raises UserError as `recheck_adversarials`."""
    model, _ = load(path)
    return recheck_adversarials(model, AdversarialFolder(folder, sha256_file(path)), RECHECK_BATCH)


def recheck_run(run: str, paths: Paths, folder: Path) -> list[Recheck]:
    """`recheck_checkpoint` for every checkpoint of a run whose images were saved in FOLDER/WHICH."""
    saved = [which for which in CHECKPOINTS if (folder / which).is_dir()] or list(CHECKPOINTS[:1])
    return [
        replace(each, attack=f"{which}: {each.attack}")
        for which in saved
        for each in recheck_checkpoint(paths.checkpoint(run, which), folder / which)
    ]
