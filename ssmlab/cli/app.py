"""The `ssmlab` command. Imports what a command needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from ssmlab.cli import data, stages
from ssmlab.cli.base import OneLineErrors
from ssmlab.cli.compare import compare
from ssmlab.cli.doctor import doctor
from ssmlab.cli.export import export
from ssmlab.cli.grid import grid
from ssmlab.cli.project import new, schema
from ssmlab.cli.published import import_, parity
from ssmlab.cli.repro import repro, stop
from ssmlab.cli.run_stages import run_stages
from ssmlab.cli.runs import alerts, runs
from ssmlab.cli.samples import samples
from ssmlab.cli.track import track
from ssmlab.cli.transfer import transfer
from ssmlab.cli.use import use
from ssmlab.cli.verify import verify
from ssmlab.system.waiting import wait_passively

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Train, attack and compare deep state space models.\n\n"
    "`ssmlab repro` runs the whole study of params.yaml; `ssmlab tui` shows it live; "
    "`ssmlab compare ads attention` puts runs side by side.",
)
STAGES = "Stages (what `dvc repro` calls)"
app.add_typer(data.app, name="data")
app.command(
    epilog="Examples: `ssmlab repro` (everything), `ssmlab repro ads attention` (two runs), `ssmlab repro report` "
    "(one stage and what it needs)"
)(repro)
app.command(epilog="Example: `ssmlab stop ads`; `ssmlab repro ads --force` continues from there")(stop)
app.command(
    epilog="Examples: `ssmlab grid` (every run that is out of date), `ssmlab grid ads ssm --jobs 2`, "
    "`ssmlab grid --cluster slurm --jobs 8 --gpus-per-run 1`, `ssmlab grid --dry-run`"
)(grid)
app.command("run-stages", hidden=True)(run_stages)  # what the jobs of a grid call
app.command(
    epilog="Examples: `ssmlab use` (list the studies), `ssmlab use smoke --dry-run`, `ssmlab use --format json`, "
    "`ssmlab use cifar10-small --set data.source=../cifar-10-python.tar.gz`"
)(use)
app.command(epilog="Examples: `ssmlab new my-project`, `ssmlab new my-project --study smoke`")(new)
app.command(epilog="Example: `ssmlab schema > params.schema.json`")(schema)
app.command("status", hidden=True)(runs)  # as git and DVC call it
app.command(
    epilog="Examples: `ssmlab runs`, `ssmlab runs --json`, `ssmlab runs --format csv > runs.csv`, "
    "`ssmlab runs --json --watch`"
)(runs)
app.command(epilog="Examples: `ssmlab alerts`, `ssmlab alerts --json`")(alerts)
app.command(epilog="Examples: `ssmlab samples ads`, `ssmlab samples ads --attack pgd-10 --to flipped.npz`")(samples)
app.command(
    epilog="Examples: `ssmlab transfer`, `ssmlab transfer ads ssm-s0 --attack fgsm --images 500`, "
    "`ssmlab transfer --format csv > transfer.csv`"
)(transfer)
app.command(
    epilog="Examples: `ssmlab export ads ads.onnx`, `ssmlab export best.safetensors model.onnx`, "
    "`ssmlab export ads --to exported/ads --license apache-2.0`"
)(export)
app.command(
    epilog="Examples: `ssmlab track --to tensorboard --folder tracking` (then `tensorboard --logdir tracking`), "
    "`ssmlab track ads --to wandb --folder tracking --follow`"
)(track)
app.command(epilog="Examples: `ssmlab verify`, `ssmlab verify --json`")(verify)
app.command(epilog="Examples: `ssmlab doctor`, `ssmlab doctor --fix`, `ssmlab doctor --json`")(doctor)
app.command(
    epilog="Examples: `ssmlab compare ads attention`, `ssmlab compare ssm ads --format md`, "
    "`ssmlab compare models/mnist5k/ads/best.safetensors other-study/ads`"
)(compare)
app.command(
    name="import",
    epilog="Examples: `ssmlab import mega.pt`, `ssmlab import s4_ads.pt --ads relu --image-size 32 --to "
    "models/imported/s4-ads`",
)(import_)
app.command(epilog="Example: `ssmlab parity ../shared/parity`")(parity)
app.command(rich_help_panel=STAGES, epilog="Example: `ssmlab prepare`")(stages.prepare)
app.command(
    rich_help_panel=STAGES,
    epilog="Examples: `ssmlab train ads --device cpu`, `torchrun --nproc-per-node 2 -m ssmlab train ads` (on two GPUs)",
)(stages.train)
app.command(
    rich_help_panel=STAGES,
    epilog="Examples: `ssmlab attack ads`, `ssmlab attack models/imported/NAME/best.safetensors`, "
    "`ssmlab attack best.safetensors --eps 8/255 --attacks pgd-50,autoattack --images 500`",
)(stages.attack)
app.command(rich_help_panel=STAGES, epilog="Example: `ssmlab probe ads`")(stages.probe)
app.command(rich_help_panel=STAGES, epilog="Example: `ssmlab analyze`, then `ssmlab report`")(stages.analyze)
app.command(rich_help_panel=STAGES, epilog="Example: `ssmlab report`")(stages.report)


@app.command(epilog="Examples: `ssmlab tui`, `ssmlab tui ~/projects/mnist`")
def tui(
    path: Annotated[
        Path, typer.Argument(metavar="[PATH]", help="The folder of the project, which holds params.yaml.")
    ] = Path(),
) -> None:
    """Follow and launch the study's runs, live, in the terminal."""
    from ssmlab.cli.interrupts import interruptible
    from ssmlab.tui.app import run as run_app

    with interruptible():  # a SIGTERM or SIGHUP restores the terminal, as Ctrl-C does
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
    """Options before a command."""


def main() -> None:
    """The console script."""
    wait_passively()  # before a command imports torch
    if (
        not sys.warnoptions
    ):  # warnings of Pillow, numpy and torch are for programmers; stages report what users must know
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # for worker processes
    app()


if __name__ == "__main__":
    main()
