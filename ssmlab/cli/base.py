"""Common parts of the commands: one-line errors, the study of the current folder, and the frame of a stage."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ssmlab.cli.lazy import LazyGroup
from ssmlab.core.errors import Interrupted, RankError, UserError
from ssmlab.core.text import hint, nearest, printable

if TYPE_CHECKING:
    from ssmlab.core.events import Listener
    from ssmlab.params import Params
    from ssmlab.params.paths import Paths


# Since 0.20 Typer has its own copy of click. BadParameter exists in both, and leads to the UsageError that is in use.
UsageError: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "UsageError")


class OneLineErrors(LazyGroup):
    """Turns every error that a user can fix into one line on stderr and an exit code."""

    def main(self, *args: Any, **more: Any) -> Any:
        """Run the command line and exit; a wrong option or command gives one line too."""
        if not more.pop("standalone_mode", True):
            return super().main(*args, **{**more, "standalone_mode": False})
        try:
            code = super().main(*args, **{**more, "standalone_mode": False})
        except UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                error.show()
                sys.exit(error.exit_code)
            context = error.ctx
            command = context.command_path if context is not None else "ssmlab"
            say(f"{usage_problem(error)}; see `{command} --help`")
            sys.exit(error.exit_code)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; raises typer.Exit if it fails."""
        from ssmlab.system.bad_pages import ending_at_bad_page

        try:
            with ending_at_bad_page(say_unreadable):
                return super().invoke(ctx)
        except RankError as error:
            fail(str(error), error.code, always=True)
        except UserError as error:
            fail(str(error), error.code)
        except KeyboardInterrupt as stop:
            cause = stop.__context__  # torchrun stops all processes when one has failed; report that failure
            if isinstance(cause, UserError):
                fail(f"{cause}; earlier results are untouched", cause.code)
            fail("stopped; earlier results are untouched", Interrupted.code)
        except BrokenPipeError:
            # The reader of our output (head, less) has ended. That is no error, but Python would print one at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            from ssmlab.core.blocked_paths import system_error

            fail(f"{system_error(error)}; earlier results are untouched", 1)


def fail(message: str, code: int, always: bool = False) -> NoReturn:
    """Exit after one line on stderr; a silent rank prints it only if `always`, because rank 0 prints it too."""
    if always or not is_silent_rank():
        say(message)
    raise typer.Exit(code)


def say(message: str) -> None:
    """Print an error as one line without control characters."""
    typer.secho("error: " + printable(message), err=True, fg=typer.colors.RED)


def usage_problem(error: Any) -> str:
    """What is wrong with a command line, without a full stop; for an unknown command, with a similar one."""
    message = str(error.format_message()).rstrip(".").replace(": Value error, ", ": ")  # pydantic's filler
    unknown = re.fullmatch(r"No such command '(.*?)'.*", message, re.DOTALL)
    if wrong := re.search(r"'([^']*)' is not one of (.*)", message):
        near = nearest(wrong.group(1), re.findall(r"'([^']*)'", wrong.group(2)))
        return f"{message} (did you mean '{near}'?)" if near else message
    if unknown is None or error.ctx is None:
        return message
    group = error.ctx.command
    shown = [name for name in group.list_commands(error.ctx) if not group.get_command(error.ctx, name).hidden]
    return f"no command '{printable(unknown.group(1), 80)}' ({hint(unknown.group(1), shown, 'commands')})"


def refuse_options(options: Mapping[str, object], why: str) -> None:
    """Raise UserError with all of these options that were given, because they would be ignored."""
    named = {name: value for name, value in options.items() if value is not None and value is not False}
    given = [name if value is True else f"{name} {value}" for name, value in named.items()]
    if given:
        raise UserError(f"{printable(', '.join(given), 200)}: {why}")


def is_silent_rank() -> bool:
    """Whether torchrun has started this process as another rank than 0 of this machine; only rank 0 reports."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def study() -> tuple[Params, Paths]:
    """The study of the current folder."""
    from ssmlab.params.paths import Paths
    from ssmlab.project.params_file import load_params

    params = load_params(Path("params.yaml"))
    return params, Paths(params.study)


def reread_params() -> Params:
    """The current params of the current folder; raises UserError if they cannot be read."""
    return study()[0]


def require_code_of_folder(folder: Path, allow_installed: bool) -> None:
    """Raise UserError if `folder` has its own `ssmlab`, which DVC hashes, and another one is running.

    Only a pipeline folder (one with a dvc.yaml) is checked, and `allow_installed` turns the check off.
    """
    from ssmlab.core.stage_code import PACKAGE

    own = folder / "ssmlab"
    if allow_installed or not (folder / "dvc.yaml").is_file() or not (own / "__init__.py").is_file():
        return
    if not own.samefile(PACKAGE):
        raise UserError(
            f"{own.resolve()} is the code that DVC hashes, but the code that runs is {PACKAGE}; start it with "
            f"`python -m ssmlab` in this folder, or add --allow-installed"
        )


@contextmanager
def stage(allow_installed: bool = True, together: bool = False, notes_on_stderr: bool = False) -> Iterator[Listener]:
    """Run a stage: show its events, and end it on every signal as on Ctrl-C.

    Args:
        allow_installed: False refuses to run an installed copy in a folder that has its own code.
        together: whether several processes of torchrun may run the stage as one.
        notes_on_stderr: for a command whose result goes to stdout, and perhaps to another program.
    """
    from rich.console import Console

    from ssmlab.cli.interrupts import ending_with_launcher, interruptible
    from ssmlab.cli.progress import display
    from ssmlab.core.events import silence
    from ssmlab.project.dvc_files import keep_lock

    if not together and "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError("torchrun with several processes is for `train` alone; run this without it")
    require_code_of_folder(Path(), allow_installed)
    if "DVC_STAGE" in os.environ:
        keep_lock(Path())  # DVC waits for this stage, so it is not writing the file
    shown = nullcontext(silence) if is_silent_rank() else display(Console(stderr=notes_on_stderr))
    with interruptible(), ending_with_launcher(), shown as on_event:
        yield on_event


def say_unreadable(path: str) -> None:
    """Print the error for a mapped file with a page that the disk cannot read."""
    say(f"{path}: cannot be read (the disk fails, or the file was cut short meanwhile); earlier results are untouched")


def prepare_study(allow_installed: bool) -> None:
    """Run the stage `prepare`, which has two commands."""
    with stage(allow_installed) as on_event:
        from ssmlab.stages.prepare import prepare

        params, paths = study()
        prepare(params, paths, on_event, reread_params)
