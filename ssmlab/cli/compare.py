"""`ssmlab compare`: runs, groups or checkpoints next to each other."""

from __future__ import annotations

from typing import Annotated

import typer

from ssmlab.cli import completion
from ssmlab.cli.base import study
from ssmlab.cli.records import FormatOption, ListFormat
from ssmlab.core.collector import collector_paused


def compare(
    subjects: Annotated[
        list[str],
        typer.Argument(
            metavar="A B...",
            help="Runs, groups, STUDY/NAME, or checkpoint files; A is the reference.",
            autocompletion=completion.entry_names,
        ),
    ],
    format: FormatOption = ListFormat.table,
    all: Annotated[bool, typer.Option("--all", help="Show every parameter, not only those that differ.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Compare results of different protocols anyway, and mark them.")
    ] = False,
) -> None:
    """Compare runs: different settings, parameters, clean and robust accuracy, RO gap, deltas."""
    with collector_paused():
        print_comparison(subjects, format, all, force)


def print_comparison(subjects: list[str], form: ListFormat, all_parameters: bool, force: bool) -> None:
    """The subjects side by side."""
    from rich.console import Console

    from ssmlab.analysis.compare.compare import compare as side_by_side
    from ssmlab.report.terminal.tables import render

    # files and STUDY/NAME are found without a params.yaml
    paths = None if all_named(subjects) else study()[1]
    rendered = render(side_by_side(subjects, paths, force), form.value, all_parameters=all_parameters)
    if isinstance(rendered, str):
        typer.echo(rendered, nl=False)
    else:
        Console().print(rendered)


def all_named(subjects: list[str]) -> bool:
    """Whether every entry is a checkpoint file or names its study."""
    return all("/" in subject or subject.endswith(".safetensors") for subject in subjects)
