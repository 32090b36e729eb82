"""Commands that are imported and built when they are called: reading all signatures takes longer than most commands."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer
import typer.main

from ssmlab.cli.plain_help import PlainHelp
from ssmlab.core.lookup import named_object


@dataclass(frozen=True)
class CommandEntry:
    """A command in the table of commands.

    Attributes:
        where: `MODULE:NAME` below ssmlab.cli, of a function or of a Typer app, which is a group of commands.
        epilog: the last lines of its help; empty if the app has its own.
        panel: the heading under which the help of `ssmlab` lists it; None for "Commands".
        hidden: whether no help and no suggestion names it.
    """

    where: str
    epilog: str = ""
    panel: str | None = None
    hidden: bool = False

    def built(self, name: str) -> Any:
        """The command with its arguments and options, under the name `name`."""
        found = named_object(f"ssmlab.cli.{self.where}")
        if isinstance(found, typer.Typer):
            group: Any = typer.main.get_command(found)
            group.rich_help_panel = self.panel
            return group
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name, epilog=self.epilog or None, rich_help_panel=self.panel, hidden=self.hidden)(found)
        return typer.main.get_command(alone)


class BuiltWhenAsked(UserDict[str, Any]):
    """Commands by name; each is built when it is asked for."""

    def __init__(self, entries: Mapping[str, CommandEntry]) -> None:
        super().__init__(entries)

    def __getitem__(self, name: str) -> Any:
        found = self.data[name]
        if isinstance(found, CommandEntry):
            found = self.data[name] = found.built(name)
        return found


class LazyGroup(PlainHelp):
    """A group of commands from a table: `commands` is to be set to a `BuiltWhenAsked`."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's signature
        """The names, without building a command."""
        return list(self.commands)
