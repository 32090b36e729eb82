"""The `ssmlab` command. Imports what a command needs when it runs, so that every command answers at once."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from ssmlab.cli.base import OneLineErrors
from ssmlab.cli.commands import COMMANDS
from ssmlab.cli.lazy import BuiltWhenAsked
from ssmlab.system.waiting import wait_passively


class AllCommands(OneLineErrors):
    """The group of all commands."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.commands = BuiltWhenAsked(COMMANDS)


app = typer.Typer(
    cls=AllCommands,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Train, attack and compare deep state space models.\n\n"
    "`ssmlab repro` runs the whole study of params.yaml; `ssmlab tui` shows it live; "
    "`ssmlab compare ads attention` puts runs side by side.",
)


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
    atexit.register(gc.freeze)  # the last garbage collection takes a sixth of a short command, and frees nothing
    # pydantic would search the metadata of all installed packages for plugins, but there are none
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if (
        not sys.warnoptions
    ):  # warnings of Pillow, numpy and torch are for programmers; stages report what users must know
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # for worker processes
    app()


if __name__ == "__main__":
    main()
