"""Stage `report`: the summary and the training histories become report.md, report.html and figures/."""

from __future__ import annotations

from ssmlab.analysis.summary import load_summary
from ssmlab.artifacts.history import Row, read_history
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.core.files import write_atomic
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.report.content import compose
from ssmlab.report.html import write_html
from ssmlab.report.markdown import write_markdown


def report(params: Params, paths: Paths, listen: Listener = silence) -> None:
    """Write the report of a study; reads its `study` and `report` sections, the summary and the histories.

    Everything is drawn and written in memory first, so that a failure leaves the earlier report whole.

    Raises:
        UserError: the summary or a history is missing or broken.
    """
    summary = load_summary(paths.analysis)
    histories = {run.name: read_rows(run.name, paths) for run in summary.runs}
    composed = compose(params.report.title, summary, histories)
    markdown, html = write_markdown(composed), write_html(composed)
    for picture in composed.pictures:
        for ending, content in picture.files.items():
            write_atomic(paths.figures / f"{picture.name}{ending}", content)
    write_atomic(paths.report_md, markdown)
    write_atomic(paths.report_html, html)
    listen(Note(f"wrote {paths.report_md} and {paths.report_html}"))


def read_rows(run: str, paths: Paths) -> list[Row]:
    """The history of a run, at least one epoch; raises UserError if there is none."""
    path = paths.model(run) / "history.csv"
    rows = read_history(path)
    if not rows:
        raise UserError(f"{path}: no epoch in it; run `ssmlab repro {run}`")
    return rows
