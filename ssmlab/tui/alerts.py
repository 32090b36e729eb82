"""Finds problems in a study that need attention. Needs no Textual; `ssmlab alerts` prints the same list."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ssmlab.analysis.training_record import exact_difference
from ssmlab.artifacts.history import Row
from ssmlab.tui.look import Look, RunView

Kind = Literal["diverged", "failed", "killed", "stale", "catastrophic overfitting", "evaluation", "disk"]

LOSS_JUMP = 3.0  # times the lowest loss so far; a normal training stays far below that
CATASTROPHIC_FALL = 0.15  # a fall of robust accuracy under PGD, in [0, 1], must exceed this, and also
CATASTROPHIC_PART = 0.5  # this share of the best accuracy; in Wong et al. (2020) it falls to 0 in one or two epochs
DISK_LEAST = 2 * 10**9  # bytes
DISK_PART = 0.01


@dataclass(frozen=True)
class Alert:
    """One problem. `run` is the affected run; empty if the whole project is affected."""

    kind: Kind
    run: str
    text: str


def alerts_of(look: Look) -> list[Alert]:
    """All alerts: first those of the project, then those of each run."""
    found = [alert for view in look.runs for alert in run_alerts(view)]
    return [*disk_alerts(look.disk_free, look.disk_total), *found]


class AlertFinder:
    """Finds alerts repeatedly; the alerts of an unchanged run are not computed again."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[RunView, tuple[Alert, ...]]] = {}

    def find(self, look: Look) -> list[Alert]:
        """All alerts, as from `alerts_of`."""
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
        reason = {"killed": "its process ended without an error message", "stale": "no heartbeat for over a minute"}
        ended = status.task or "it ended with an error: see its log"
        yield Alert(status.state, view.name, reason.get(status.state, ended))
    if status.unread:
        yield Alert("disk", view.name, status.unread)
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
    fall = exact_difference(best.val_robust, last.val_robust)
    before, now = best.train_robust, last.train_robust
    if before is None or now is None or now < before:
        return
    if fall > CATASTROPHIC_FALL and fall > round(CATASTROPHIC_PART * best.val_robust, 9):
        text = (
            f"robust accuracy fell from {100 * best.val_robust:.1f}% in epoch {best.epoch} "
            f"to {100 * last.val_robust:.1f}%, "
            f"while robust accuracy under the training attack rose to {100 * now:.1f}%"
        )
        yield Alert("catastrophic overfitting", name, text)


def disk_alerts(free: int | None, total: int | None) -> Iterator[Alert]:
    """A disk that is nearly full: less than 2 GB free, or less than 1%."""
    if free is None or not total:
        return
    if free < DISK_LEAST or free < DISK_PART * total:
        yield Alert("disk", "", f"the disk is nearly full: {free / 1e9:.1f} of {total / 1e9:.0f} GB are free")
