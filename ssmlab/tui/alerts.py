"""Finds what a researcher should look at in a study. Knows no Textual; `ssmlab alerts` prints the same list."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ssmlab.artifacts.history import Row
from ssmlab.tui.look import Look, RunView

Kind = Literal["diverged", "failed", "killed", "stale", "catastrophic overfitting", "evaluation", "disk"]

LOSS_JUMP = 3.0  # times the lowest loss so far; a healthy training stays far below that
CATASTROPHIC_FALL = 0.15  # of robust accuracy under PGD, in [0, 1], and
CATASTROPHIC_PART = 0.5  # of the best so far; Wong et al. (2020) see it fall to 0 within one or two epochs
DISK_LEAST = 2 * 10**9  # bytes
DISK_PART = 0.01


@dataclass(frozen=True)
class Alert:
    """One thing to look at. `run` is the run it is about; empty if it is about the whole project."""

    kind: Kind
    run: str
    text: str


def alerts_of(look: Look) -> list[Alert]:
    """All alerts: those of the project first, then run by run."""
    found = [alert for view in look.runs for alert in run_alerts(view)]
    return [*disk_alerts(look.disk_free, look.disk_total), *found]


class AlertFinder:
    """Finds the alerts of one look after the other; a run that has not changed keeps its own."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[RunView, tuple[Alert, ...]]] = {}

    def find(self, look: Look) -> list[Alert]:
        """All alerts, as `alerts_of` has them."""
        found = disk_alerts(look.disk_free, look.disk_total)
        return [*found, *(alert for view in look.runs for alert in self.of_run(view))]

    def of_run(self, view: RunView) -> tuple[Alert, ...]:
        """The alerts of one run."""
        judged, alerts = self.found.get(view.name, (None, ()))
        if judged is not view:
            alerts = tuple(run_alerts(view))
            self.found[view.name] = (view, alerts)
        return alerts


def run_alerts(view: RunView) -> Iterator[Alert]:
    """The alerts of one run."""
    status = view.status
    if status.state in ("failed", "killed", "stale"):
        reason = {"killed": "its process has ended without saying why", "stale": "nothing was heard of it for a minute"}
        ended = status.task or "it ended with an error: see its log"
        yield Alert(status.state, view.name, reason.get(status.state, ended))
    yield from history_alerts(view.name, status.rows)
    for warning in view.warnings:
        yield Alert("evaluation", view.name, warning)


def history_alerts(name: str, rows: Sequence[Row]) -> Iterator[Alert]:
    """Alerts from one run's history: a loss that diverges, or catastrophic overfitting."""
    if not rows:
        return
    last = rows[-1]
    if not math.isfinite(last.train_loss):
        yield Alert("diverged", name, f"the training loss is {last.train_loss} in epoch {last.epoch}")
    else:
        least = min((row.train_loss for row in rows if math.isfinite(row.train_loss)), default=last.train_loss)
        if least > 0 and last.train_loss > LOSS_JUMP * least:
            text = f"the training loss is {last.train_loss:.3g} in epoch {last.epoch}, after {least:.3g} at its lowest"
            yield Alert("diverged", name, text)
    best = max(rows, key=lambda row: row.val_robust)
    fall = best.val_robust - last.val_robust
    before, now = best.train_robust, last.train_robust
    if before is None or now is None or now < before:
        return
    if fall > CATASTROPHIC_FALL and fall > CATASTROPHIC_PART * best.val_robust:
        text = (
            f"robust accuracy fell from {100 * best.val_robust:.1f}% in epoch {best.epoch} "
            f"to {100 * last.val_robust:.1f}%, "
            f"while that against the training attack rose to {100 * now:.1f}%"
        )
        yield Alert("catastrophic overfitting", name, text)


def disk_alerts(free: int | None, total: int | None) -> Iterator[Alert]:
    """A disk that is nearly full: less than 2 GB free, or less than 1%."""
    if free is None or not total:
        return
    if free < DISK_LEAST or free < DISK_PART * total:
        yield Alert("disk", "", f"the disk is nearly full: {free / 1e9:.1f} of {total / 1e9:.0f} GB are free")
