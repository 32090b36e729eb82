"""Help as plain text: Typer's own draws boxes with Rich, whose imports alone are most of what `--help` then costs."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

SENTENCE = 300  # characters of a command's help in the list; longer than any first sentence


class PlainHelp(TyperGroup):
    """A group of commands whose help lists them under the headings of their panels, each with a whole sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the lists of commands."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                heading = getattr(command, "rich_help_panel", None) or "Commands"
                sections.setdefault(str(heading), []).append((name, command.get_short_help_str(SENTENCE)))
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)
