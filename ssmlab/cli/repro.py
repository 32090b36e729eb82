"""`ssmlab repro` and `ssmlab stop`: running the whole pipeline, and stopping one training."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from ssmlab.cli import completion
from ssmlab.cli.base import fail, study
from ssmlab.cli.options import ForceOption, RunName
from ssmlab.cli.progress import tell

if TYPE_CHECKING:
    from ssmlab.params.paths import Paths


NO_DVC_FOLDER = 253  # the exit code of DVC outside a project


def repro(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|GROUP|STAGE]...",
            help="Runs, groups of seeds or stages; everything by default.",
            autocompletion=completion.target_names,
        ),
    ] = None,
    force: ForceOption = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave it running in the background; `ssmlab tui` follows it.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(
            "--wait", metavar="SECONDS", min=0, help="How long to wait for another DVC command in this project."
        ),
    ] = 60.0,
) -> None:
    """Run what is out of date, with DVC, and show its progress."""
    from ssmlab.cli.interrupts import interruptible
    from ssmlab.project import launch

    params, paths = study()
    if detach:
        launched = launch.launch(params, paths, targets or [], force, tell)
        typer.echo(f"running in the background (process {launched.pid}), log: {launched.log}; follow it: ssmlab tui")
        return
    with interruptible():
        code = launch.foreground(params, paths, targets or [], force, tell, wait)
    if code == NO_DVC_FOLDER:
        fail("the pipeline did not start, because DVC finds no folder .dvc here; see `ssmlab doctor`", code)
    if code != 0:
        fail(f"the pipeline stopped, {why(code)}; `ssmlab repro` continues from there", code)
    if targets and not {"analyze", "report"} & set(targets):
        typer.echo("`ssmlab repro report` brings the study's report up to date")
    elif paths.analysis.is_file():
        show_headline(paths)


def why(code: int) -> str:
    """Why DVC ended with this exit code. DVC prints the reason, unless a signal ends it (128 + its number)."""
    ended_by = next((number.name for number in signal.Signals if number == code - 128), None)
    if ended_by == "SIGKILL":
        return "because DVC was killed (SIGKILL), perhaps for lack of memory"
    return f"because DVC was ended by {ended_by}" if ended_by else "for the reason above"


def show_headline(paths: Paths) -> None:
    """Print the study's numbers as a short table, and where the report is."""
    from rich.console import Console

    from ssmlab.analysis.summary import load_summary
    from ssmlab.report.terminal.tables import headline

    Console().print(headline(load_summary(paths.analysis)))
    typer.echo(f"report: {paths.report_html} and {paths.report_md}")


def stop(run: RunName) -> None:
    """Stop a training at its next step and publish what it has; it can continue later."""
    from ssmlab.stages.train import stop_request as stopping

    params, paths = study()
    params.run(run)
    typer.echo(stopping.stop_training(paths, run, patience=60.0))
