"""What every command shares: how mistakes read, the study of the folder, and the frame of a stage."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperGroup

from ssmlab.errors import Interrupted, UserError

if TYPE_CHECKING:
    from ssmlab.events import Listener
    from ssmlab.params import Params
    from ssmlab.pipeline.paths import Paths


class OneLineErrors(TyperGroup):
    """Turns every mistake a user can mend into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; raises typer.Exit where it failed."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            fail(str(error), error.code)
        except KeyboardInterrupt:
            fail("stopped; earlier results are untouched", Interrupted.code)
        except BrokenPipeError:
            # Whoever read our output (head, less) has gone: not an error, but Python would print one at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            fail(f"{where}{error.strerror or error}; earlier results are untouched", 1)


def fail(message: str, code: int) -> NoReturn:
    """One line on stderr, then the exit."""
    typer.secho("error: " + " ".join(message.split()), err=True, fg=typer.colors.RED)
    raise typer.Exit(code)


def study() -> tuple[Params, Paths]:
    """The study of the folder we stand in."""
    from ssmlab.pipeline.paths import Paths
    from ssmlab.study import load_params

    params = load_params(Path("params.yaml"))
    return params, Paths(params.study)


@contextmanager
def stage() -> Iterator[Listener]:
    """Runs a stage: its events are drawn, and whatever ends it does so as Ctrl-C does."""
    from rich.console import Console

    from ssmlab.console import display
    from ssmlab.interrupts import ending_with_dvc, interruptible

    with interruptible(), ending_with_dvc(), display(Console()) as listen:
        yield listen


def prepare_study() -> None:
    """Run the stage `prepare`, which two commands name."""
    with stage() as listen:
        from ssmlab.pipeline.prepare import prepare

        params, paths = study()
        prepare(params, paths, listen)
