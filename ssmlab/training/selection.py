"""Which epoch of a history is the best, and when to give up waiting for a better one."""

from __future__ import annotations

from collections.abc import Sequence

from ssmlab.artifacts.history import Row
from ssmlab.params import TrainParams


def selection_score(row: Row, params: TrainParams) -> tuple[float, float]:
    """What selection compares between epochs; higher is better."""
    return params.selection.score(row.val_clean, row.val_robust)


def is_best(row: Row, earlier: Sequence[Row], params: TrainParams) -> bool:
    """Whether an epoch is strictly better than all earlier ones; of equally good epochs the first is kept."""
    return not earlier or selection_score(row, params) > max(selection_score(each, params) for each in earlier)


def out_of_patience(rows: Sequence[Row], params: TrainParams) -> bool:
    """Whether `patience` epochs after the warm-up have brought nothing better than the best epoch."""
    if params.patience is None or not rows:
        return False
    best = max(rows, key=lambda row: selection_score(row, params))  # the first of equally good ones
    return rows[-1].epoch - max(best.epoch, params.warmup / params.replays) >= params.patience
