"""Exports a trained run as a folder that can be uploaded to a model hub without changes."""

from __future__ import annotations

from pathlib import Path

from ssmlab.artifacts.manifest import read_published
from ssmlab.artifacts.metadata import parse_checkpoint
from ssmlab.core.errors import UserError
from ssmlab.core.files import read_file, write_atomic
from ssmlab.evaluation.results import load_results
from ssmlab.params import Which
from ssmlab.params.paths import Paths
from ssmlab.report.model_card import ONNX, WEIGHTS, model_card, robustbench_json


def export_run(
    run: str, paths: Paths, folder: Path, which: Which = "best", license: str | None = None, onnx: bytes | None = None
) -> list[Path]:
    """Write one checkpoint of a run, its model card, RobustBench's fields and its attack results to `folder`.

    The weights are an exact copy of the checkpoint file, and `ssmlab.load` reads them.

    Args:
        onnx: the same checkpoint as an ONNX file, which then is in the folder too.

    Returns:
        the paths of the written files.

    Raises:
        UserError: the run was not trained, not attacked, or trained again after the attack; or the folder holds other
            files.
    """
    _, contents = read_published(paths.model(run))
    weights = contents[f"{which}.safetensors"]
    checkpoint = parse_checkpoint(weights, str(paths.checkpoint(run, which)))
    metadata = checkpoint.metadata
    results = load_results(paths.attack(run))
    found = results.checkpoints.get(which)
    if found is None or found.sha256 != checkpoint.sha256:
        raise UserError(
            f"run {run}: its {which} checkpoint is not the one that was attacked, so its numbers are unknown; run "
            f"`ssmlab attack {run}`"
        )
    files: dict[str, str | bytes] = {
        WEIGHTS: weights,
        "README.md": model_card(metadata, results, found, license, has_onnx=onnx is not None),
        "robustbench.json": robustbench_json(metadata, results, found),
        "attack.json": read_file(paths.attack(run)),
    }
    if onnx is not None:
        files[ONNX] = onnx
    if folder.exists() and (not folder.is_dir() or {file.name for file in folder.iterdir()} - set(files)):
        raise UserError(f"{folder}: holds other files; name a new or empty folder with --to")
    for name, content in files.items():
        write_atomic(folder / name, content)
    return [folder / name for name in files]
