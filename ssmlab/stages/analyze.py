"""Stage `analyze`: the attack results of all runs become results/<study>/analysis/summary.json."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ssmlab.analysis.summarize import summarize
from ssmlab.artifacts.history import Row, read_history
from ssmlab.artifacts.provenance import start_on_files
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.core.files import readable_json, sweep_leftovers, write_atomic
from ssmlab.data.header import read_data_summary
from ssmlab.evaluation.results import AttackResults, load_results
from ssmlab.params import Params
from ssmlab.params.paths import Paths


def analyze(
    params: Params,
    paths: Paths,
    on_event: Listener = silence,
    reread: Callable[[], Params] | None = None,
) -> None:
    """Write the summary of a study; reads its `study` and `analyze` sections, the names of its runs, their
    training histories, and what its prepared data set says of itself. `reread` gives params.yaml as it is now.

    Raises:
        UserError: a run has no attack results, a claim asks for a measure that was not taken, the prepared data set
            is missing or is not the one that was attacked, or params, code or results have changed meanwhile.
        ProtocolMismatch: the runs were attacked under different protocols.
    """
    sweep_leftovers(paths.analysis)
    files = [paths.attack(run) for run in params.runs]
    started = start_on_files("analyze", analyze_params(params), files, paths.root, reread and partial(asked, reread))
    results = [read_results(run, paths) for run in params.runs]
    summary = summarize(
        params.study, results, params.analyze, read_data_summary(paths.prepared), read_histories(params, paths)
    )
    started.require_unchanged(paths.analysis, "ssmlab analyze")
    write_atomic(paths.analysis, readable_json(summary.plain()))
    for claim in summary.claims:
        on_event(Note(f"{claim.says}: {claim.sentence}"))
    on_event(Note(f"wrote {paths.analysis}"))


def analyze_params(params: Params) -> dict[str, Any]:
    """What the stage reads of params.yaml; DVC hashes the runs whole, so they are compared whole."""
    runs = {name: run.plain() for name, run in params.runs.items()}
    return {"study": params.study, "runs": runs, "analyze": params.analyze.plain()}


def asked(reread: Callable[[], Params]) -> dict[str, Any]:
    return analyze_params(reread())


def read_histories(params: Params, paths: Paths) -> dict[str, list[Row]]:
    """The training histories of the runs that have one; raises UserError where one cannot be read."""
    files = {run: paths.model(run) / "history.csv" for run in params.runs}
    return {run: read_history(file) for run, file in files.items() if file.is_file()}


def read_results(run: str, paths: Paths) -> AttackResults:
    """The attack results of a run; raises UserError if they are missing, broken or another run's."""
    results = load_results(paths.attack(run))
    if (results.study, results.run) != (paths.study, run):
        raise UserError(
            f"{paths.attack(run)}: these are the results of {results.study}/{results.run}; run `ssmlab attack {run}`"
        )
    return results
