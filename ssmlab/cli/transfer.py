"""`ssmlab transfer`: how adversarial images of one run affect the other runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ssmlab.cli import completion
from ssmlab.cli.base import reread_params, stage, study
from ssmlab.cli.options import DeviceOption
from ssmlab.cli.records import FormatOption, ListFormat, records_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ssmlab.evaluation.transfer_results import TransferResults


def transfer(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN|GROUP]...",
            help="Runs and groups of seeds, at least two runs; every trained run by default.",
            autocompletion=completion.run_and_group_names,
        ),
    ] = None,
    attack: Annotated[
        str, typer.Option("--attack", metavar="NAME", help="FGSM or PGD: an attack of params.yaml, or fgsm, pgd-N.")
    ] = "pgd-10",
    images: Annotated[
        int | None,
        typer.Option("--images", min=1, metavar="N", help="The first N test images. [default: 200, or all if fewer]"),
    ] = None,
    device: DeviceOption = None,
    format: FormatOption = ListFormat.table,
) -> None:
    """Attack every run and test all others on the attacked images: results/STUDY/transfer.json."""
    with stage(notes_on_stderr=True) as on_event:
        from ssmlab.stages.transfer import transfer as run_transfer

        params, paths = study()
        results = run_transfer(params, names or [], paths, attack, images, device, on_event, reread_params)
    show_transfer(results, params.groups, format)


def show_transfer(results: TransferResults, groups: Mapping[str, Sequence[str]], form: ListFormat) -> None:
    """Print the matrix of the groups of seeds for people, or a row for every pair of runs for scripts."""
    from rich.console import Console

    from ssmlab.report.markup import markdown_text
    from ssmlab.report.table import to_markdown
    from ssmlab.report.terminal.fitted_table import to_rich
    from ssmlab.report.transfer_tables import (
        TRANSFER_COLUMNS,
        groups_there,
        transfer_rows,
        transfer_table,
    )

    if form in (ListFormat.json, ListFormat.csv):
        typer.echo(records_text("transfer", TRANSFER_COLUMNS, list(transfer_rows(results)), form), nl=False)
        return
    table = transfer_table(results, groups_there(groups, results))
    if form is ListFormat.md:
        typer.echo(f"{to_markdown(table, markdown_text)}\n\n{markdown_text(table.caption)}\n")
    else:
        Console().print(to_rich(table))
