"""`ssmlab export`: a trained model as an ONNX file, or as a folder for a model hub."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssmlab.cli import completion
from ssmlab.cli.base import stage, study
from ssmlab.core.errors import UserError

if TYPE_CHECKING:
    from ssmlab.stages.onnx_export.export import Exported


class CheckpointChoice(StrEnum):
    """Which of a run's checkpoints."""

    best = "best"
    last = "last"


def export(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="A run of the study, or the file of a checkpoint.", autocompletion=completion.run_names
        ),
    ],
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL.onnx]", help="Write this ONNX file (needs ssmlab[onnx]).")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Write a new or empty folder for a model hub instead.")
    ] = None,
    checkpoint: Annotated[
        CheckpointChoice | None, typer.Option("--checkpoint", help="Which checkpoint of a run; best by default.")
    ] = (None),
    onnx: Annotated[bool, typer.Option("--onnx", help="With --to: also write model.onnx.")] = False,
    license: Annotated[
        str | None,
        typer.Option("--license", metavar="ID", help="With --to: the licence you give the weights, e.g. apache-2.0."),
    ] = None,
) -> None:
    """Write a model as one ONNX file, or its weights, model card and RobustBench's fields to a folder."""
    if (model is None) == (to is None):
        raise UserError("name a file, `ssmlab export RUN model.onnx`, or a folder, `ssmlab export RUN --to FOLDER`")
    if model is not None:
        if license is not None:
            raise UserError(f"--license {license}: it is for the model card that --to FOLDER writes; leave it out")
        if onnx:
            raise UserError(f"--onnx: it is for the folder of --to FOLDER; {model} is an ONNX file already")
        write_onnx(exported_checkpoint(run, checkpoint), model)
        return
    assert to is not None
    if run.endswith(".safetensors"):
        raise UserError(f"--to {to}: name a run of the study, not {run}: the folder also gets the run's attack results")
    write_folder(run, to, checkpoint or CheckpointChoice.best, license, onnx)


def exported_checkpoint(run: str, which: CheckpointChoice | None) -> Path:
    """The checkpoint that is meant; raises UserError for an unknown run."""
    if run.endswith(".safetensors"):
        if which is not None:
            raise UserError(f"--checkpoint {which.value}: it is for a run; {run} is one checkpoint already")
        return Path(run)
    params, paths = study()
    params.run(run)
    return paths.checkpoint(run, (which or CheckpointChoice.best).value)


def write_onnx(path: Path, to: Path) -> None:
    """Write the ONNX file and say how well it agrees with the checkpoint."""
    with stage():
        from ssmlab.stages.onnx_export.export import export_onnx

        made = export_onnx(path, to)
    shape = ", ".join(map(str, made.image_shape))
    size = f"{len(made.content):,} bytes"
    typer.echo(f"wrote {to} ({size}): images (batch, {shape}) in [0, 1] -> logits (batch, {made.classes})")
    say_agreement(made)


def say_agreement(made: Exported) -> None:
    """How well an ONNX file agrees with its checkpoint."""
    found = made.agreement
    typer.echo(
        f"compared in onnxruntime on {made.images}: logits differ by at most {found.difference:.1e} (the largest "
        f"is {found.largest:.3g}), the class is the same for {found.same} of {found.n}"
    )


def write_folder(run: str, to: Path, which: CheckpointChoice, license: str | None, onnx: bool) -> None:
    """Write the hub's folder and name its files."""
    from ssmlab.report.hub_folder import export_run

    made = None
    params, paths = study()
    params.run(run)
    if onnx:
        with stage():
            from ssmlab.stages.onnx_export.export import make_onnx

            made = make_onnx(paths.checkpoint(run, which.value))
    for file in export_run(run, paths, to, which.value, license, made.content if made else None):
        typer.echo(f"wrote {file}")
    if made:
        say_agreement(made)
