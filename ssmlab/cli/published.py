"""`ssmlab import` and `ssmlab parity`: checkpoints and vectors of the code published with the paper."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ssmlab.cli.base import fail, stage


class Activation(StrEnum):
    """The activation of AdS."""

    relu = "relu"
    sigmoid = "sigmoid"
    tanh = "tanh"


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A state dict: .pt, .pth or .safetensors.")],
    ads: Annotated[
        Activation | None, typer.Option("--ads", help="The activation of AdS, which is not stored in a state dict.")
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", min=1, max=4096, help="N, if the images have N x N pixels; not needed for Mega."),
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Where to write it; models/imported/NAME by default.")] = None,
) -> None:
    """Import a checkpoint of the code published with the paper: models/imported/NAME/best.safetensors."""
    from ssmlab.published.import_checkpoint import import_checkpoint

    imported = import_checkpoint(file, ads.value if ads else None, image_size, to)
    model, (channels, height, width) = imported.metadata.model, imported.metadata.image_shape
    what = f"{model.mixer}{f' + ads ({model.ads.act})' if model.ads else ''}, {model.layers} layers of {model.d_model}"
    typer.echo(f"{what}, {imported.parameters:,} parameters, images {channels} x {height} x {width}")
    typer.echo(f"written: {imported.path}; attack it: ssmlab attack {imported.path}")


def parity(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of parity vectors.")]) -> None:
    """Compare our models with vectors of the published code: logits, kernels, gradients; code 1 if they disagree."""
    from rich.console import Console

    from ssmlab.published.parity import parity as agreements
    from ssmlab.report.terminal.tables import parity_table

    with stage() as on_event:
        found = agreements(folder, on_event)
    Console().print(parity_table(found))
    apart = [each.case for each in found if not each.ok]
    if apart:
        fail(f"{len(apart)} of {len(found)} cases disagree with the published code: {', '.join(apart)}", 1)
