"""The commands that DVC calls: each is a thin wrapper around one stage."""

from __future__ import annotations

from pathlib import Path

from ssmlab.cli.base import prepare_study, refuse_options, reread_params, stage, study
from ssmlab.cli.options import (
    AllowInstalled,
    AttacksOption,
    DataOption,
    DeviceChoice,
    DeviceOption,
    EpsOption,
    ImagesOption,
    NormOption,
    RecheckOption,
    RunName,
    RunOrFile,
    SaveOption,
)
from ssmlab.cli.records import FormatOption, ListFormat
from ssmlab.core.errors import UserError
from ssmlab.core.text import printable


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
    run: RunOrFile,
    device: DeviceOption = None,
    allow_installed: AllowInstalled = False,
    eps: EpsOption = None,
    attacks: AttacksOption = None,
    norm: NormOption = None,
    images: ImagesOption = None,
    data: DataOption = None,
    save_adversarials: SaveOption = None,
    recheck: RecheckOption = None,
    format: FormatOption = ListFormat.table,
) -> None:
    """Attack the checkpoints of one run: results/STUDY/attack/RUN.json."""
    from ssmlab.cli.checkpoint_attack import attack_checkpoint, recheck_saved

    file = checkpoint_file(run)
    only_with_eps = {"--attacks": attacks, "--images": images, "--data": data}
    only_with_eps |= {"--norm": norm, "--format": None if format is ListFormat.table else format}
    saved = {"--save-adversarials": save_adversarials}
    if recheck is not None:
        refuse_options({"--eps": eps, "--device": device, **only_with_eps, **saved}, "leave it out with --recheck")
        recheck_saved(run, file, recheck)
    elif eps is None:
        why = "give --eps and a checkpoint file too; runs are attacked as params.yaml says"
        refuse_options(only_with_eps if file is None else {**only_with_eps, **saved}, why)
        attack_as_stage(run, file, device, allow_installed, save_adversarials)
    elif file is None:
        raise UserError(f"--eps {eps}: it is for checkpoint files; runs are attacked as params.yaml says")
    else:
        attack_checkpoint(file, str(eps), attacks, images, data, norm, save_adversarials, device, format)


def checkpoint_file(run: str) -> Path | None:
    """The file that `run` names, None for the name of a run; raises UserError if there is no such file."""
    if not run.endswith(".safetensors"):
        return None
    if not Path(run).exists():
        raise UserError(f"{printable(run, 200)}: no such checkpoint; `ssmlab train` writes them to models/STUDY/RUN/")
    return Path(run)


def attack_as_stage(
    run: str, file: Path | None, device: DeviceChoice | None, allow_installed: bool, save_to: Path | None
) -> None:
    """Attack a run, or the file of an imported checkpoint, as params.yaml says; keep a run's images in `save_to`."""
    if file is not None and not Path("params.yaml").exists():
        raise UserError(
            f"{printable(run, 200)}: there is no params.yaml here with attack settings; give --eps and --data, "
            "for example `--eps 8/255 --data PREPARED.safetensors`"
        )
    with stage(allow_installed) as on_event:
        params, paths = study()
        if file is None:
            params.run(run)
        from ssmlab.stages.attack.stage import attack as attack_run
        from ssmlab.stages.attack.stage import attack_file

        if file is None:
            attack_run(params, run, paths, device, on_event, reread_params, save_to)
        else:
            attack_file(params, file, paths, device, on_event, reread_params)


def probe(run: RunName, device: DeviceOption = None, allow_installed: AllowInstalled = False) -> None:
    """Measure how errors grow in the models of one run: results/STUDY/probe/RUN.json."""
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
