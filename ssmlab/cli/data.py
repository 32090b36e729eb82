"""`ssmlab data`: known, fetched and prepared data sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssmlab.cli import completion
from ssmlab.cli.base import prepare_study, stage, study
from ssmlab.cli.options import AllowInstalled
from ssmlab.cli.plain_help import PlainHelp
from ssmlab.cli.records import FormatOption, ListFormat, records_text
from ssmlab.core.errors import UserError
from ssmlab.core.text import hint, printable

if TYPE_CHECKING:
    from ssmlab.data.header import DataSummary
    from ssmlab.ingest.catalog import CatalogEntry

app = typer.Typer(
    cls=PlainHelp,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, fetch, prepare and show data sets.",
    epilog="Examples: `ssmlab data list`, `ssmlab data fetch cifar10`, `ssmlab data show`",
)
PREPARED = Path("data")
COLUMNS = (
    *("name", "kind", "data", "title", "here", "classes", "image_shape", "train", "validation", "test", "bytes"),
    *("provenance", "fingerprint"),
)
WIDTH_WITH_TITLES = 102
WIDTH_OF_A_PIPE = 120  # nothing wraps there


@app.command(
    "list", epilog="Examples: `ssmlab data list`, `ssmlab data list --format json`, `ssmlab data list --format csv`"
)
def list_(format: FormatOption = ListFormat.table) -> None:
    """List the known data sets, whether each is fetched, and the prepared ones in data/."""
    from ssmlab.ingest.catalog import CATALOG
    from ssmlab.ingest.fetch import cache_folder, is_fetched

    cache = cache_folder()
    states = [
        (known, "embedded" if known.embedded else "fetched" if is_fetched(known, cache) else "-")
        for known in CATALOG.values()
    ]
    found, damaged = prepared_sets(PREPARED)
    if format is ListFormat.table:
        print_tables(states, found, cache)
    else:
        rows = [known_record(known, state) for known, state in states] + [prepared_record(*each) for each in found]
        typer.echo(records_text("data sets", COLUMNS, rows, format), nl=False)
    for problem in damaged:
        typer.secho(f"warning: {problem}", err=True, fg=typer.colors.YELLOW)


def print_tables(
    states: Sequence[tuple[CatalogEntry, str]], prepared: Sequence[tuple[Path, DataSummary]], cache: Path
) -> None:
    """Print the known and the prepared data sets as tables."""
    from rich.console import Console

    from ssmlab.report.terminal.data_tables import known_table, prepared_table

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_OF_A_PIPE)
    console.print(known_table(states, titles=console.width >= WIDTH_WITH_TITLES))
    typer.echo(f"fetched into {cache} by `ssmlab data fetch NAME`\n")
    if prepared:
        console.print(prepared_table(prepared))
    else:
        typer.echo(f"nothing is prepared in {PREPARED}/ yet; run `ssmlab prepare`")


def known_record(known: CatalogEntry, state: str) -> dict[str, Any]:
    """A known data set as a row for scripts."""
    sizes = [each.size for each in known.downloads]
    return {
        "name": known.name,
        "kind": "known",
        "data": known.name,
        "title": known.title,
        "here": state != "-",
        "classes": known.classes,
        "image_shape": shape_cell(known.image_shape),
        **{str(part): count for part, count in known.counts.items()},
        "bytes": None if None in sizes else sum(size or 0 for size in sizes),
    }


def prepared_record(path: Path, summary: DataSummary) -> dict[str, Any]:
    """A prepared data set as a row for scripts."""
    description = summary.description
    return {
        "name": path.stem,
        "kind": "prepared",
        "data": description.name,
        "title": description.source,
        "here": True,
        "classes": description.classes,
        "image_shape": shape_cell(summary.image_shape),
        "train": summary.train,
        "validation": summary.validation,
        "test": summary.test,
        "bytes": path.stat().st_size,
        "provenance": description.provenance,
        "fingerprint": description.fingerprint,
    }


def shape_cell(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def prepared_sets(folder: Path) -> tuple[list[tuple[Path, DataSummary]], list[str]]:
    """The prepared data sets in a folder, and what is wrong with each file that is not one."""
    from ssmlab.data.header import read_data_summary

    found, damaged = [], []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            found.append((path, read_data_summary(path)))
        except UserError as error:
            damaged.append(str(error))
    return found, damaged


@app.command(epilog="Examples: `ssmlab data fetch cifar10`, `ssmlab data fetch mnist --mirror https://HOST/mnist`")
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A data set of `ssmlab data list`.", autocompletion=completion.data_set_names
        ),
    ],
    mirror: Annotated[
        str | None, typer.Option("--mirror", metavar="URL", help="Download URL/FILE instead of the publisher's files.")
    ] = None,
) -> None:
    """Download a data set from its publisher and check it; an interrupted download continues where it stopped."""
    from ssmlab.ingest.catalog import look_up
    from ssmlab.ingest.fetch import cache_folder
    from ssmlab.ingest.fetch import fetch as fetch_files

    with stage() as listen:
        home = fetch_files(look_up(name), cache_folder(), listen, mirror)
    typer.echo(
        f"{name} is in {home}; set `data: {{name: {name}, source: auto}}` in params.yaml and run: ssmlab prepare"
    )


@app.command()
def prepare(allow_installed: AllowInstalled = False) -> None:
    """Make the prepared data set of the study, as `ssmlab prepare` does: data/STUDY.safetensors."""
    prepare_study(allow_installed)


@app.command(
    epilog="Examples: `ssmlab data show` (the current study's), `ssmlab data show smoke`, "
    "`ssmlab data show other/data/mnist.safetensors --to mnist.png`"
)
def show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="A prepared data set: data/NAME.safetensors, or a path; the study's by default.",
            autocompletion=completion.prepared_names,
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option("--to", help="The picture; data/NAME.png by default.")] = None,
) -> None:
    """Draw a contact sheet, a few training images of every class, as a PNG and in the terminal."""
    from rich.console import Console

    from ssmlab.core.files import write_atomic
    from ssmlab.project.own_digests import check_prepared
    from ssmlab.report.terminal.contact_sheet import contact_sheet_png, read_contact_sheet
    from ssmlab.report.terminal.image import terminal_sheet

    path = prepared_path(name)
    to = to or PREPARED / f"{path.stem}.png"
    if to.suffix.lower() != ".png":
        raise UserError(f"--to {to}: the picture is a PNG; name it .png")
    check_prepared(path)
    sheet = read_contact_sheet(path)
    write_atomic(to, contact_sheet_png(sheet))
    console = Console()
    if console.color_system is not None and not console.no_color:  # color_system is None without a terminal
        for line in terminal_sheet(sheet, console.width):
            console.print(line, no_wrap=True)
    description = sheet.summary.description
    typer.echo(
        f"{description.name} ({description.provenance}), {description.classes} classes, from {path}; written: {to}"
    )


def prepared_path(name: str | None) -> Path:
    """The prepared data set that `name` means; raises UserError, which says what to do, if there is none."""
    if name is None:
        return study()[1].prepared
    named = PREPARED / f"{name}.safetensors"
    if named.is_file():
        return named
    if Path(name).is_file() or Path(name).suffix == ".safetensors":
        return Path(name)
    from ssmlab.ingest.catalog import CATALOG

    if name in CATALOG:
        raise UserError(
            f"{name}: a known data set, but it is not prepared; set data.name: {name} in params.yaml, run "
            "`ssmlab prepare`, then `ssmlab data show`"
        )
    there = [path.stem for path in sorted(PREPARED.glob("*.safetensors"))]
    known = hint(name, there, "prepared") if there else f"{PREPARED}/ has nothing"
    raise UserError(f"{printable(name, 80)}: not a prepared data set ({known}); see `ssmlab data list`")
