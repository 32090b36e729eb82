"""Stage `analyze`: the attack results of all runs become results/<study>/analysis/summary.json."""

from __future__ import annotations

from ssmlab.analysis.summarize import summarize
from ssmlab.artifacts.history import Row, read_history
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.core.files import readable_json, write_atomic
from ssmlab.data.header import read_data_summary
from ssmlab.evaluation.results import AttackResults, load_results
from ssmlab.params import Params
from ssmlab.params.paths import Paths


def analyze(params: Params, paths: Paths, listen: Listener = silence) -> None:
    """Write the summary of a study; reads its `study` and `analyze` sections, the names of its runs, their
    training histories, and what its prepared data set says of itself.

    Raises:
        UserError: a run has no attack results, a claim asks for a measure that was not taken, or the prepared data set
            is missing or is not the one that was attacked.
        ProtocolMismatch: the runs were attacked under different protocols.
    """
    results = [read_results(run, paths) for run in params.runs]
    summary = summarize(
        params.study, results, params.analyze, read_data_summary(paths.prepared), read_histories(params, paths)
    )
    write_atomic(paths.analysis, readable_json(summary.plain()))
    for claim in summary.claims:
        listen(Note(f"{claim.says}: {claim.sentence}"))
    listen(Note(f"wrote {paths.analysis}"))


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
