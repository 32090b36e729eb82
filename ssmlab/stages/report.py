"""Stage `report`: summary and training histories become report.md, report.html, study.yaml, figures/ and tables/."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ssmlab.analysis.summary import Summary, load_summary
from ssmlab.artifacts.history import Row, published_history
from ssmlab.artifacts.manifest import HISTORY
from ssmlab.artifacts.stage_run import file_input, start_stage
from ssmlab.core.collector import collector_paused
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.core.files import remove_other_files, to_csv, write_atomic, write_changed
from ssmlab.evaluation.transfer_results import TransferResults, load_transfer
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.probes.results import ProbeResults, load_probes
from ssmlab.report.content import ACCURACIES, compose
from ssmlab.report.html import write_html
from ssmlab.report.markdown import write_markdown
from ssmlab.report.records import AccuracyRecord, accuracy_records
from ssmlab.report.study_file import study_yaml
from ssmlab.report.table import TextTable, table_csv, to_latex
from ssmlab.report.training_curves import TrainingCurves


def report(
    params: Params,
    paths: Paths,
    on_event: Listener = silence,
    reread: Callable[[], Params] | None = None,
) -> None:
    """Write the report of a study from its summary, training histories, and probe and transfer results.

    From params.yaml, it reads the study's name and the section `report`. `reread` returns the present params.yaml.

    Everything is first drawn and written in memory, so a failure does not change the earlier report.

    Raises:
        UserError: the summary or a history is missing or broken, or params, code or inputs have changed meanwhile.
    """
    files = (paths.analysis, *probe_files(paths), paths.transfer)
    inputs = [file_input(file) for file in files if file.is_file()]
    pages = (paths.report_md, paths.report_html, paths.study_as_measured)
    outputs = (*pages, paths.tables / ACCURACIES, paths.figures / "curves.png")
    started = start_stage("report", report_params, params, inputs, outputs, root=paths.root, reread=reread)
    summary = load_summary(paths.analysis)
    with collector_paused():
        curves = TrainingCurves.of((run.name, read_rows(run.name, paths)) for run in summary.runs)
    if summary.settings is None:
        raise UserError(f"{paths.analysis}: written by an older version of ssmlab; run `ssmlab analyze`")
    study = study_yaml(params.report.title, summary, summary.settings)
    probes, transfer = read_probes(summary, paths), read_transfer(summary, paths)
    composed = compose(params.report.title, summary, curves, probes, transfer)
    markdown, html = write_markdown(composed), write_html(composed)
    tables: dict[Path, bytes | str] = {
        paths.tables / name: content for name, content in table_files(composed.tables, summary).items()
    }
    figures: dict[Path, bytes | str] = {
        paths.figures / f"{each.name}{ending}": content
        for each in composed.pictures
        for ending, content in each.files.items()
    }
    started.require_unchanged(paths.report_md, "ssmlab report")
    write_changed({**figures, **tables})
    write_atomic(paths.study_as_measured, study)
    write_atomic(paths.report_md, markdown)
    write_atomic(paths.report_html, html)
    remove_other_files(paths.figures, figures)  # files of runs that are no longer in the study
    remove_other_files(paths.tables, tables)
    on_event(Note(f"wrote {paths.report_md} and {paths.report_html}"))


def table_files(tables: Sequence[TextTable], summary: Summary) -> dict[str, str]:
    """The content of every file in tables/: each table as CSV and LaTeX, and all accuracies, one per line."""
    found: dict[str, str] = {}
    for table in tables:
        found |= {f"{table.name}.csv": table_csv(table), f"{table.name}.tex": to_latex(table)}
    records = accuracy_records(summary.study, summary.runs, summary.groups, summary.protocol)
    return {**found, ACCURACIES: to_csv(AccuracyRecord._fields, records)}


def report_params(params: Params) -> dict[str, Any]:
    """The part of params.yaml that the stage reads."""
    return {"study": params.study, "report": params.report.plain()}


def probe_files(paths: Paths) -> list[Path]:
    """The existing files of probe results."""
    return sorted(paths.probes.glob("*.json"))


def read_probes(summary: Summary, paths: Paths) -> dict[str, ProbeResults]:
    """The existing probe results by run; raises UserError if they are damaged or belong to another run."""
    found = {}
    for run in summary.runs:
        path = paths.probe(run.name)
        if path.is_file():
            found[run.name] = results = load_probes(path)
            if (results.study, results.run) != (summary.study, run.name):
                raise UserError(
                    f"{path}: these are the probes of {results.study}/{results.run}; run `ssmlab probe {run.name}`"
                )
    return found


def read_transfer(summary: Summary, paths: Paths) -> TransferResults | None:
    """The study's transfer results, None without any; raises UserError if they are damaged or of another study."""
    if not paths.transfer.is_file():
        return None
    results = load_transfer(paths.transfer)
    if results.study != summary.study:
        raise UserError(f"{paths.transfer}: these are the transfers of study {results.study}; run `ssmlab transfer`")
    return results


def read_rows(run: str, paths: Paths) -> list[Row]:
    """The history of a run: at least one epoch, of the training that its manifest names.

    Raises:
        UserError: there is none, or it is damaged, or it is of another training than the checkpoints next to it.
    """
    rows = published_history(paths.model(run))
    if not rows:
        raise UserError(f"{paths.model(run) / HISTORY}: contains no epoch; run `ssmlab repro {run}`")
    return rows
