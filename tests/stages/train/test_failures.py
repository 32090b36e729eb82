"""Trainings that fail: what is kept, and what is said in one line."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from ssmlab.artifacts.history import read_history
from ssmlab.core.errors import UserError
from ssmlab.core.events import Event
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.stages.train.stage import train
from ssmlab.training.regimes import base
from tests.stages.train.dying_disk import Disk
from tests.stages.train.toy_training import (
    CHECKPOINTS,
    EPOCHS,
    RUN,
    at,
    notes_of,
    outcome,
)


@pytest.mark.parametrize("epoch", [1, 3])
def test_an_error_says_what_is_kept_and_how_to_continue(params: Params, paths: Paths, epoch: int) -> None:
    disk = Disk(10**9)

    def die() -> None:
        disk.left = 0

    with disk.in_use(), pytest.raises(UserError, match=r"Input/output error.*earlier results are untouched") as caught:
        train(params, RUN, paths, on_event=at(f"epoch {epoch}/{EPOCHS}", die))
    assert (f"continues after epoch {epoch - 1}" if epoch > 1 else "no epoch was completed") in str(caught.value)


def test_a_diverged_training_names_the_images_and_keeps_the_last_good_state(
    params: Params, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count(1)

    def breaking(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, y) * (float("nan") if next(calls) > 4 else 1)

    monkeypatch.setattr(base, "smoothed_cross_entropy", lambda smoothing: breaking)
    with pytest.raises(UserError, match=r"epoch 2, step 5\) on images \d+, .* \.\.\.; lower .*continues after epoch 1"):
        train(params, RUN, paths)
    log = (paths.live(RUN) / "log.txt").read_text().splitlines()
    logged = next(line for line in log if "rows of the source: " in line).partition("source: ")[2].split(", ")
    assert len(set(logged)) == 20
    monkeypatch.undo()
    assert f"continuing after epoch 1/{EPOCHS}" in notes_of(params, paths)


def test_out_of_memory_is_one_line(params: Params, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Iterator[Event]:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nSee documentation")

    monkeypatch.setattr("ssmlab.stages.train.follower.fit", full)
    with pytest.raises(
        UserError, match=r"is out of memory; lower its train\.batch_size; no epoch was completed"
    ) as caught:
        train(params, RUN, paths)
    assert "\n" not in str(caught.value)


def test_a_data_file_that_vanishes_during_training_does_no_harm(
    params: Params, paths: Paths, whole: dict[str, Any]
) -> None:
    train(params, RUN, paths, on_event=at(f"epoch 1/{EPOCHS}", lambda: paths.prepared.unlink(missing_ok=True)))
    assert outcome(paths) == whole
    with pytest.raises(UserError, match="ssmlab prepare"):
        train(params, RUN, paths)


def test_a_live_folder_that_vanishes_during_training_does_no_harm(
    params: Params, paths: Paths, whole: dict[str, Any]
) -> None:
    train(params, RUN, paths, on_event=at(f"epoch 2/{EPOCHS}: validation", lambda: shutil.rmtree(paths.root / "runs")))
    assert [(paths.model(RUN) / name).read_bytes() for name in CHECKPOINTS] == [whole[name] for name in CHECKPOINTS]
    assert [row.epoch for row in read_history(paths.model(RUN) / "history.csv")] == [1, 2, 3]
