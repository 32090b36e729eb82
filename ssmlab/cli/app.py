"""The `ssmlab` command. Imports what a command needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
import warnings
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssmlab.cli import completion, data
from ssmlab.cli.base import AllowInstalled, OneLineErrors, fail, prepare_study, reread_params, stage, study
from ssmlab.cli.doctor import doctor
from ssmlab.cli.grid import grid
from ssmlab.cli.progress import text_of
from ssmlab.cli.runs import alerts, runs
from ssmlab.cli.samples import samples
from ssmlab.cli.use import use
from ssmlab.core.events import Event, Note
from ssmlab.system.waiting import wait_passively

if TYPE_CHECKING:
    from ssmlab.params.paths import Paths


app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Train, attack and compare deep state space models.\n\n"
    "`ssmlab repro` runs the whole study of params.yaml; `ssmlab tui` shows it live; "
    "`ssmlab compare ads attention` puts runs side by side.",
)
app.add_typer(data.app, name="data")
app.command(
    epilog="Examples: `ssmlab grid` (every run that is out of date), `ssmlab grid ads ssm --jobs 2`, "
    "`ssmlab grid --cluster slurm --jobs 8 --gpus-per-run 1`, `ssmlab grid --dry-run`"
)(grid)
app.command(
    epilog="Examples: `ssmlab use` (list the studies), `ssmlab use smoke --dry-run`, `ssmlab use --format json`, "
    "`ssmlab use cifar10-small --set data.source=../cifar-10-python.tar.gz`"
)(use)
app.command("status", hidden=True)(runs)  # the word that git and DVC have for it
app.command(
    epilog="Examples: `ssmlab runs`, `ssmlab runs --json`, `ssmlab runs --format csv > runs.csv`, "
    "`ssmlab runs --json --watch`"
)(runs)
app.command(epilog="Examples: `ssmlab alerts`, `ssmlab alerts --json`")(alerts)
app.command(epilog="Examples: `ssmlab samples ads`, `ssmlab samples ads --attack pgd-10 --to flipped.npz`")(samples)
app.command(epilog="Examples: `ssmlab doctor`, `ssmlab doctor --fix`, `ssmlab doctor --json`")(doctor)
STAGES = "Stages (what `dvc repro` calls)"
RunName = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run of params.yaml, for example `ads`.", autocompletion=completion.run_names),
]


class DeviceChoice(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Activation(StrEnum):
    """Of AdS."""

    relu = "relu"
    sigmoid = "sigmoid"
    tanh = "tanh"


class FormatChoice(StrEnum):
    """How to write a comparison."""

    table = "table"
    json = "json"
    csv = "csv"
    md = "md"


DeviceOption = Annotated[
    DeviceChoice | None,
    typer.Option("--device", help="Overrides `device` of params.yaml; auto takes CUDA if it is there."),
]


@app.command(rich_help_panel=STAGES, epilog="Example: `ssmlab prepare`")
def prepare(allow_installed: AllowInstalled = False) -> None:
    """Make the prepared data set of the study: data/STUDY.safetensors."""
    prepare_study(allow_installed)


@app.command(
    rich_help_panel=STAGES,
    epilog="Examples: `ssmlab train ads --device cpu`, `torchrun --nproc-per-node 2 -m ssmlab train ads` (on two GPUs)",
)
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


@app.command(
    rich_help_panel=STAGES,
    epilog="Examples: `ssmlab attack ads`, `ssmlab attack models/imported/NAME/best.safetensors`",
)
def attack(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run of params.yaml, or the file of an imported checkpoint.",
            autocompletion=completion.run_names,
        ),
    ],
    device: DeviceOption = None,
    allow_installed: AllowInstalled = False,
) -> None:
    """Attack the checkpoints of one run: results/STUDY/attack/RUN.json."""
    with stage(allow_installed) as on_event:
        params, paths = study()
        imported = run.endswith(".safetensors")
        if not imported:
            params.run(run)
        from ssmlab.stages.attack.stage import attack as attack_run
        from ssmlab.stages.attack.stage import attack_file

        if imported:
            attack_file(params, Path(run), paths, device, on_event, reread_params)
        else:
            attack_run(params, run, paths, device, on_event, reread_params)


@app.command(rich_help_panel=STAGES, epilog="Example: `ssmlab analyze`, then `ssmlab report`")
def analyze(allow_installed: AllowInstalled = False) -> None:
    """Judge the study's claims by its numbers: results/STUDY/analysis/summary.json."""
    with stage(allow_installed) as on_event:
        from ssmlab.stages.analyze import analyze as run_stage

        params, paths = study()
        run_stage(params, paths, on_event, reread_params)


@app.command(rich_help_panel=STAGES, epilog="Example: `ssmlab report`")
def report(allow_installed: AllowInstalled = False) -> None:
    """Write results/STUDY/report.md, report.html and figures/."""
    with stage(allow_installed) as on_event:
        from ssmlab.stages.report import report as run_stage

        params, paths = study()
        run_stage(params, paths, on_event, reread_params)


@app.command(
    epilog="Examples: `ssmlab repro` (everything), `ssmlab repro ads attention` (two runs), `ssmlab repro report` "
    "(one stage and what it needs)"
)
def repro(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|STAGE]...",
            help="Runs or stages; all of them by default.",
            autocompletion=completion.target_names,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run the stages even if nothing has changed.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave it running in the background; `ssmlab tui` follows it.")
    ] = False,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for another DVC command here.")
    ] = 60.0,
) -> None:
    """Run what is out of date, through DVC, and follow it live."""
    from ssmlab.cli.interrupts import interruptible
    from ssmlab.project import launch

    params, paths = study()
    if detach:
        launched = launch.launch(params, paths, targets or [], force, tell)
        typer.echo(f"running in the background (process {launched.pid}), log: {launched.log}; follow it: ssmlab tui")
        return
    with interruptible():
        code = launch.foreground(params, paths, targets or [], force, tell, wait)
    if code != 0:
        fail("the pipeline stopped, for the reason above; `ssmlab repro` goes on from there", code)
    if paths.analysis.is_file():
        show_headline(paths)


def tell(event: Event) -> None:
    """A note of a command that is no stage, as a line on stderr."""
    if isinstance(event, Note):
        typer.secho(text_of(event), err=True, fg=typer.colors.YELLOW if event.warning else None)


def show_headline(paths: Paths) -> None:
    """The study's numbers in a short table, and where the report lies."""
    from rich.console import Console

    from ssmlab.analysis.summary import load_summary
    from ssmlab.report.terminal.tables import headline

    Console().print(headline(load_summary(paths.analysis)))
    typer.echo(f"report: {paths.report_html} and {paths.report_md}")


@app.command(epilog="Example: `ssmlab stop ads`; `ssmlab repro ads --force` goes on from there")
def stop(run: RunName) -> None:
    """End a training at its next step and publish what it has; it can go on later."""
    from ssmlab.stages.train import stop_request as stopping

    params, paths = study()
    params.run(run)
    typer.echo(stopping.stop_training(paths, run, patience=60.0))


@app.command(
    epilog="Examples: `ssmlab compare ads attention`, `ssmlab compare ssm ads --format md`, "
    "`ssmlab compare models/mnist5k/ads/best.safetensors other-study/ads`"
)
def compare(
    subjects: Annotated[
        list[str],
        typer.Argument(
            metavar="A B...",
            help="Runs, groups, STUDY/NAME, or checkpoint files; A is the reference.",
            autocompletion=completion.entry_names,
        ),
    ],
    format: Annotated[FormatChoice, typer.Option("--format", help="How to write it.")] = FormatChoice.table,
    all: Annotated[bool, typer.Option("--all", help="Every parameter, not only those that differ.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Compare results of different protocols anyway, and mark them.")
    ] = False,
) -> None:
    """Put runs side by side: what differs, parameters, clean and robust accuracy, RO gap, deltas."""
    from rich.console import Console

    from ssmlab.analysis.compare.compare import compare as side_by_side
    from ssmlab.report.terminal.tables import render

    _, paths = study()
    rendered = render(side_by_side(subjects, paths, force), format.value, all_parameters=all)
    if isinstance(rendered, str):
        typer.echo(rendered, nl=False)
    else:
        Console().print(rendered)


@app.command(
    name="import",
    epilog="Examples: `ssmlab import mega.pt`, `ssmlab import s4_ads.pt --ads relu --image-size 32 --to "
    "models/imported/s4-ads`",
)
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A state dict: .pt, .pth or .safetensors.")],
    ads: Annotated[
        Activation | None, typer.Option("--ads", help="The activation of its AdS, which no state dict tells.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=1, max=4096, help="N, for images of N x N pixels; Mega's tell it.")
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="The folder; models/imported/NAME by default.")] = None,
) -> None:
    """Import a checkpoint of the code published with the paper: models/imported/NAME/best.safetensors."""
    from ssmlab.published.import_checkpoint import import_checkpoint

    imported = import_checkpoint(file, ads.value if ads else None, image_size, to)
    model, (channels, height, width) = imported.metadata.model, imported.metadata.image_shape
    what = f"{model.mixer}{f' + ads ({model.ads.act})' if model.ads else ''}, {model.layers} layers of {model.d_model}"
    typer.echo(f"{what}, {imported.parameters:,} parameters, images {channels} x {height} x {width}")
    typer.echo(f"written: {imported.path}; attack it: ssmlab attack {imported.path}")


@app.command(epilog="Example: `ssmlab parity ../shared/parity`")
def parity(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of parity vectors.")]) -> None:
    """Compare our models with vectors of the published code: logits, kernels, gradients; code 1 where they disagree."""
    from rich.console import Console

    from ssmlab.published.parity import parity as agreements
    from ssmlab.report.terminal.tables import parity_table

    with stage() as on_event:
        found = agreements(folder, on_event)
    Console().print(parity_table(found))
    apart = [each.case for each in found if not each.ok]
    if apart:
        fail(f"{len(apart)} of {len(found)} cases disagree with the published code: {', '.join(apart)}", 1)


@app.command(epilog="Examples: `ssmlab tui`, `ssmlab tui ~/projects/mnist`")
def tui(
    path: Annotated[
        Path, typer.Argument(metavar="[PATH]", help="The folder of the project, which holds params.yaml.")
    ] = Path(),
) -> None:
    """Follow and launch the study's runs, live, in the terminal."""
    from ssmlab.cli.interrupts import interruptible
    from ssmlab.tui.app import run as run_app

    with interruptible():  # a SIGTERM or SIGHUP gives the terminal back, as Ctrl-C does
        run_app(path)


def version(value: bool) -> None:
    """Print the version and stop, if asked to."""
    if value:
        from ssmlab.core.version import __version__

        typer.echo(f"ssmlab {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """What every command shares."""


def main() -> None:
    """The console script."""
    wait_passively()  # before a command imports torch
    if not sys.warnoptions:  # what Pillow, numpy and torch warn of is for programmers; stages say what users must know
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # for worker processes
    app()


if __name__ == "__main__":
    main()
