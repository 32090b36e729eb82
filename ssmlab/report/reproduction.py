"""How the numbers were produced, and the commands that reproduce them."""

from __future__ import annotations

from collections.abc import Iterator

from ssmlab.analysis.origin import Origin
from ssmlab.analysis.summary import Run, Summary
from ssmlab.core.text import listed
from ssmlab.report.blocks import Block, Caution, Commands, Folded, Heading, Paragraph
from ssmlab.report.table import ABSENT, Column, TextTable

SHORT_HASH = 12  # characters; enough to tell hashes apart, few enough to read


def origin_section(summary: Summary) -> Iterator[Block]:
    """Commit, code, versions, device, threads and command behind the numbers."""
    yield Heading("How these numbers were made")
    made = made_with(summary)
    if not made:
        yield Paragraph(
            "An older version of ssmlab produced these results. It did not record code, versions and device."
        )
        return
    columns = ("stage", "runs", "git commit", "code", "device", "versions", "command")
    rows = tuple((stage, runs_text(summary, runs), *origin_cells(origin, runs[0])) for stage, origin, runs in made)
    yield TextTable(tuple(Column(name, left=True) for name in columns), rows)
    yield Folded("Settings and checkpoints of every run, by their SHA-256", hash_table(summary))


def made_with(summary: Summary) -> list[tuple[str, Origin, list[Run]]]:
    """(stage, origin, runs) for every distinct origin of trainings and attacks, apart from settings and run names."""
    found: dict[tuple[str, str], tuple[str, Origin, list[Run]]] = {}
    for stage in ("train", "attack"):
        for run in summary.runs:
            origin = run.trained if stage == "train" else run.attacked
            if origin is not None:
                alike = origin.model_copy(update={"params_sha256": "", "command": command_text(origin, run)})
                found.setdefault((stage, alike.fingerprint()), (stage, origin, []))[2].append(run)
    return list(found.values())


def runs_text(summary: Summary, runs: list[Run]) -> str:
    """`all 5`, or the runs by name."""
    return f"all {len(runs)}" if 1 < len(runs) == len(summary.runs) else listed(run.name for run in runs)


def origin_cells(origin: Origin, run: Run) -> tuple[str, ...]:
    """The cells of a row from `git commit` to `command`."""
    threads = f", {origin.threads} {'thread' if origin.threads == 1 else 'threads'}" if origin.threads else ""
    return (
        commit_text(origin),
        origin.code_sha256[:SHORT_HASH],
        (origin.device or ABSENT) + threads,
        ", ".join(f"{name} {version}" for name, version in origin.versions.items()),
        command_text(origin, run),
    )


def commit_text(origin: Origin) -> str:
    """`0392fb8f9509`, with a note if the code had uncommitted changes or was not a git checkout."""
    if origin.git_commit is None:
        return "none (not a git checkout)"
    changed = f" with uncommitted changes ({origin.git_changes[:SHORT_HASH]})" if origin.git_changes else ""
    return origin.git_commit[:SHORT_HASH] + changed


def command_text(origin: Origin, run: Run) -> str:
    """The command that was run, with RUN in place of the run's name."""
    words = (origin.command or "called from Python").split(" ")
    return " ".join("RUN" if word == run.name else word for word in words)


def hash_table(summary: Summary) -> TextTable:
    """The hashes of a run's training and attack settings and of its two checkpoints."""
    columns = ("run", "params of train", "params of attack", "best checkpoint", "last checkpoint")
    rows = []
    for run in summary.runs:
        params = [origin.params_sha256 if origin else ABSENT for origin in (run.trained, run.attacked)]
        checkpoints = [
            run.checkpoints[which].sha256 if which in run.checkpoints else ABSENT for which in ("best", "last")
        ]
        rows.append((run.name, *(each[:SHORT_HASH] for each in (*params, *checkpoints))))
    return TextTable(tuple(Column(name, left=True) for name in columns), tuple(rows))


def reproduction_section(summary: Summary) -> Iterator[Block]:
    """The commands that reproduce these numbers, and the limits of the reproduction."""
    origins = [origin for run in summary.runs for origin in (run.trained, run.attacked) if origin]
    commits = list(dict.fromkeys(origin.git_commit for origin in origins if origin.git_commit))
    names = [group.name for group in summary.groups]
    lines = [f"git checkout {commits[-1]}"] if commits else []
    lines += ["make install", ". .venv/bin/activate", f"cp results/{summary.study}/study.yaml params.yaml"]
    lines.append(f"{threads_variable(origins)}ssmlab repro")
    if len(names) > 1:
        lines.append(f"ssmlab compare {' '.join(names)}")
    yield Heading("How to reproduce")
    yield Paragraph(
        "`study.yaml` beside this report contains every setting of every run as it was measured, even if params.yaml "
        "or studies/ have changed since. In a checkout of the repository, these commands reproduce the numbers: "
        "exactly on the same kind of CPU with the versions and threads above, approximately on other machines."
    )
    yield from (Caution(text) for text in reproduction_limits(summary, origins, commits))
    yield Commands("\n".join(lines))


def threads_variable(origins: list[Origin]) -> str:
    """`OMP_NUM_THREADS=1 ` if every stage ran on a CPU with the same number of threads; otherwise empty."""
    counts = {origin.threads for origin in origins if origin.device == "cpu"}
    count = counts.pop() if len(counts) == 1 else None
    return f"OMP_NUM_THREADS={count} " if count else ""


def reproduction_limits(summary: Summary, origins: list[Origin], commits: list[str]) -> Iterator[str]:
    """Why the commands may give other numbers; nothing if they should not."""
    if not origins:
        yield "The code, versions and device behind these numbers were not recorded; others may give other numbers."
    elif not commits:
        yield "The code was not a git checkout; only its hash above shows whether other code is the same."
    changed = list(dict.fromkeys(origin.git_changes[:SHORT_HASH] for origin in origins if origin.git_changes))
    if changed:
        yield (
            f"The code had changes that are in no commit (SHA-256 {listed(changed)}); the commit alone may give other "
            "numbers."
        )
    if len(commits) > 1:
        short = listed(commit[:SHORT_HASH] for commit in commits)
        yield f"The numbers come from several commits ({short}, see above); one of them alone may give other numbers."
    stopped = [run for run in summary.runs if run.epochs and run.epochs.ended == "asked to stop"]
    if stopped:
        yield (
            f"{listed(f'{run.name} ({run.epochs.text} epochs)' for run in stopped if run.epochs)} "
            f"{'was' if len(stopped) == 1 else 'were'} stopped by a user; the commands train to the last epoch."
        )
    if summary.settings and not summary.settings.is_prepared:
        yield (
            "The prepared data set was made with settings that differ from the section `data` of study.yaml and are "
            "not recorded; preparing it again may give other numbers."
        )
