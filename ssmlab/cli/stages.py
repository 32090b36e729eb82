"""The commands that DVC calls: each is a thin wrapper around one stage."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ssmlab.cli import completion
from ssmlab.cli.base import AllowInstalled, RunName, prepare_study, reread_params, stage, study
from ssmlab.cli.records import FormatOption, ListFormat
from ssmlab.core.errors import UserError
from ssmlab.core.text import printable


class NormChoice(StrEnum):
    """How the distance of an attacked image is measured."""

    linf = "linf"
    l2 = "l2"


class DeviceChoice(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


DeviceOption = Annotated[
    DeviceChoice | None,
    typer.Option("--device", help="Overrides `device` of params.yaml; auto takes CUDA if it is there."),
]


def prepare(allow_installed: AllowInstalled = False) -> None:
    """Make the prepared data set of the study: data/STUDY.safetensors."""
    prepare_study(allow_installed)


def train(run: RunName, device: DeviceOption = None, allow_installed: AllowInstalled = False) -> None:
    """Train one run: models/STUDY/RUN/best.safetensors, last.safetensors, history.csv."""
    with stage(allow_installed, together=True) as on_event:
        params, paths = study()
        params.run(run)
        from ssmlab.evaluation.plan import check_plan_on_prepared

        # `ssmlab repro` checks this too, but on a new machine it starts before the data are prepared
        check_plan_on_prepared(params, paths)
        from ssmlab.stages.train.stage import train as run_stage

        run_stage(params, run, paths, device, on_event, reread_params)


def attack(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run of params.yaml, or the file of a checkpoint.",
            autocompletion=completion.run_names,
        ),
    ],
    device: DeviceOption = None,
    allow_installed: AllowInstalled = False,
    eps: Annotated[
        str | None, typer.Option("--eps", metavar="EPS", help="Of a file: attack at this eps, and only print.")
    ] = None,
    attacks: Annotated[
        str | None,
        typer.Option("--attacks", metavar="A,B", help="With --eps: fgsm, pgd-N, autoattack, ...; pgd-10 by default."),
    ] = None,
    norm: Annotated[
        NormChoice | None, typer.Option("--norm", help="With --eps: the norm that eps is in; linf by default.")
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", min=1, metavar="N", help="With --eps: the first N test images.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", help="With --eps: a prepared data set; the study's by default."),
    ] = None,
    save_adversarials: Annotated[
        Path | None,
        typer.Option("--save-adversarials", metavar="FOLDER", help="With --eps: keep the images of every attack."),
    ] = None,
    recheck: Annotated[
        Path | None,
        typer.Option("--recheck", metavar="FOLDER", help="Of a file: ask it again about images that were kept."),
    ] = None,
    format: FormatOption = ListFormat.table,
) -> None:
    """Attack the checkpoints of one run: results/STUDY/attack/RUN.json."""
    only_with_eps = {"--attacks": attacks, "--images": images, "--data": data, "--save-adversarials": save_adversarials}
    only_with_eps |= {"--norm": norm, "--format": None if format is ListFormat.table else format}
    is_file = run.endswith(".safetensors")
    if is_file and not Path(run).exists():
        raise UserError(f"{printable(run, 200)}: no such checkpoint; `ssmlab train` writes them to models/STUDY/RUN/")
    if eps is not None or recheck is not None:
        from ssmlab.cli.checkpoint_attack import attack_checkpoint, recheck_saved

        if not is_file:
            option = f"--eps {eps}" if recheck is None else f"--recheck {recheck}"
            raise UserError(f"{option}: it is for checkpoint files; runs are attacked as params.yaml says")
        if recheck is not None:
            refuse({"--eps": eps, "--device": device, **only_with_eps}, "leave it out with --recheck")
            recheck_saved(Path(run), recheck)
            return
        attack_checkpoint(
            Path(run),
            str(eps),
            attacks or "pgd-10",
            images,
            data or str(study()[1].prepared),
            norm.value if norm else "linf",
            save_adversarials,
            device.value if device else "auto",
            format,
        )
        return
    refuse(only_with_eps, "give --eps and a checkpoint file too; runs are attacked as params.yaml says")
    with stage(allow_installed) as on_event:
        params, paths = study()
        if not is_file:
            params.run(run)
        from ssmlab.stages.attack.stage import attack as attack_run
        from ssmlab.stages.attack.stage import attack_file

        if is_file:
            attack_file(params, Path(run), paths, device, on_event, reread_params)
        else:
            attack_run(params, run, paths, device, on_event, reread_params)


def refuse(options: Mapping[str, object], why: str) -> None:
    """Raises UserError with all of these options that were given: those that would be ignored."""
    if given := [f"{name} {value}" for name, value in options.items() if value is not None]:
        raise UserError(f"{printable(', '.join(given), 200)}: {why}")


def probe(run: RunName, device: DeviceOption = None, allow_installed: AllowInstalled = False) -> None:
    """Follow errors through the models of one run: results/STUDY/probe/RUN.json."""
    with stage(allow_installed) as on_event:
        params, paths = study()
        params.run(run)
        from ssmlab.stages.probe import probe as run_stage

        run_stage(params, run, paths, device, on_event, reread_params)


def analyze(allow_installed: AllowInstalled = False) -> None:
    """Judge the study's claims by its numbers: results/STUDY/analysis/summary.json."""
    with stage(allow_installed) as on_event:
        from ssmlab.stages.analyze import analyze as run_stage

        params, paths = study()
        run_stage(params, paths, on_event, reread_params)


def report(allow_installed: AllowInstalled = False) -> None:
    """Write results/STUDY/report.md, report.html and figures/."""
    with stage(allow_installed) as on_event:
        from ssmlab.stages.report import report as run_stage

        params, paths = study()
        run_stage(params, paths, on_event, reread_params)
