"""`ssmlab samples`: test images that an attack flips, before and after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ssmlab.cli import completion
from ssmlab.cli.base import stage, study
from ssmlab.cli.records import SCHEMA
from ssmlab.core.errors import UserError

if TYPE_CHECKING:
    from ssmlab.stages.samples.sample_file import FlippedSamples

PRINTED = 6  # images in the terminal without --count
KEPT = 24  # images in a file or as JSON without --count
WIDEST = 100  # cells of three pictures

COUNT_HELP = f"At most N images; {PRINTED} by default, {KEPT} with --to or --json."
CountOption = Annotated[int | None, typer.Option("--count", metavar="N", min=1, max=1000, help=COUNT_HELP)]


def samples(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A trained run of params.yaml.", autocompletion=completion.run_names)
    ],
    attack: Annotated[
        str | None, typer.Option("--attack", metavar="NAME", help="An attack of params.yaml; its first by default.")
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="Use the last checkpoint instead of the best.")] = False,
    count: CountOption = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE.npz", help="Write images, classes and confidences to this file."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print classes and confidences for scripts, without images.")
    ] = False,
) -> None:
    """Attack test images again and show those that are flipped: clean, perturbation, adversarial, classes."""
    from ssmlab.stages.samples.sample_file import save_samples

    if to is not None and to.suffix != ".npz":
        raise UserError(f"--to {to}: the name must end in .npz")
    params, paths = study()
    params.run(run)
    name = attack or next(iter(params.attack.attacks))
    which: Literal["best", "last"] = "last" if last else "best"
    with stage(notes_on_stderr=True) as on_event:
        from ssmlab.stages.samples.compute import flipped_samples

        most = count or (KEPT if to is not None or as_json else PRINTED)
        found = flipped_samples(params, run, paths, name, which, most, on_event=on_event)
    if to is not None:
        to.parent.mkdir(parents=True, exist_ok=True)
        save_samples(to, found)
    if as_json:
        typer.echo(json_text(found))
    elif to is not None:
        typer.echo(f"{len(found)} images written: {to}")
    else:
        print_samples(found)


def json_text(found: FlippedSamples) -> str:
    """The header and one row per image, without pixels."""
    from dataclasses import asdict

    names = found.header.class_names
    columns = (found.rows, found.labels, found.predicted, found.clean_confidence, found.confidence)
    rows = [
        {"row": int(row), "label": names[label], "predicted": names[predicted]}
        | {"clean_confidence": float(before), "confidence": float(after)}
        for row, label, predicted, before, after in zip(*columns, strict=True)
    ]
    return json.dumps({"schema": SCHEMA, "kind": "samples", **asdict(found.header), "rows": rows}, ensure_ascii=False)


def print_samples(found: FlippedSamples) -> None:
    """Print the images in the terminal, two pixels per cell."""
    from rich.console import Console

    from ssmlab.report.terminal.flipped import flipped_pictures, pictures_in_a_row

    console, header = Console(), found.header
    names = header.class_names
    shown = f"{len(found)} shown" if len(found) < header.flipped else "all shown"
    console.print(
        f"{header.run}, {header.checkpoint} checkpoint, {header.attack}, eps {header.eps:.4g}: of {header.attacked} "
        f"test images {header.right} are right when clean; the attack flips {header.flipped} ({shown})",
        markup=False,
        highlight=False,
    )
    for place in range(len(found)):
        label, predicted = names[found.labels[place]], names[found.predicted[place]]
        console.print(
            f"\ntest image {found.rows[place]}: {label} ({found.clean_confidence[place]:.1%}) -> {predicted} "
            f"({found.confidence[place]:.1%})",
            markup=False,
            highlight=False,
        )
        pictures = flipped_pictures(found.clean[place], found.adversarial[place], found.largest_change)
        for line in pictures_in_a_row(pictures, min(console.width, WIDEST)):
            console.print(line, no_wrap=True, crop=True)
