"""A training that is asked to stop ends at the next step and publishes what it has."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from ssmlab.artifacts.heartbeat import HeartbeatWriter, read_heartbeat, state_of
from ssmlab.artifacts.metadata import read_metadata
from ssmlab.core.errors import Interrupted, UserError
from ssmlab.core.events import Event, Note
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.stages.train.stage import train
from ssmlab.stages.train.stop_request import request_of, stop_training
from tests.stages.train.toy_training import (
    EPOCHS,
    RUN,
    at,
    notes_of,
    outcome,
)


def test_a_training_that_is_asked_to_stop_publishes_and_can_continue(
    params: Params, paths: Paths, whole: dict[str, Any]
) -> None:
    notes: list[str] = []
    ask = at(f"epoch 3/{EPOCHS}", request_of(paths.live(RUN)).touch)

    def listen(event: Event) -> None:
        ask(event)
        if isinstance(event, Note):
            notes.append(event.text)

    train(params, RUN, paths, on_event=listen)  # no exception: the stage has succeeded
    assert [row.epoch for row in outcome(paths)["rows"]] == [1, 2]
    assert outcome(paths)["rows"] == whole["rows"][:2]
    assert read_metadata(paths.checkpoint(RUN, "last")).epoch == 2
    beat = read_heartbeat(paths.live(RUN) / "progress.json")
    assert beat is not None and state_of(beat, beat.time) == "stopped"
    assert f"stopped on request, epoch 2/{EPOCHS} is published" in beat.message
    assert f"ssmlab repro {RUN} --force" in notes[-1]

    assert f"continuing after epoch 2/{EPOCHS}" in notes_of(params, paths)  # the old request has no effect any more
    assert outcome(paths) == whole


def test_a_training_that_is_asked_to_stop_in_its_first_epoch_publishes_nothing(
    params: Params, paths: Paths, whole: dict[str, Any]
) -> None:
    with pytest.raises(Interrupted, match=r"stopped at epoch 1; no epoch was completed"):
        train(params, RUN, paths, on_event=at(f"epoch 1/{EPOCHS}", request_of(paths.live(RUN)).touch))
    assert not paths.model(RUN).exists()
    train(params, RUN, paths)
    assert outcome(paths) == whole


@pytest.mark.parametrize("end", [None, "finished", "attacking"])
def test_stop_refuses_a_run_that_is_not_being_trained(params: Params, paths: Paths, end: str | None) -> None:
    if end is not None:
        stage = "attack" if end == "attacking" else "train"
        heart = HeartbeatWriter(paths.live(RUN) / "progress.json", stage=stage, study="s", run=RUN, device="cpu")
        if end == "finished":
            heart.close("finished")
    with pytest.raises(UserError, match=f"run {RUN} is not being trained"):
        stop_training(paths, RUN, patience=5)
    assert not request_of(paths.live(RUN)).exists()


@pytest.mark.parametrize(
    ("state", "message", "says"),
    [
        ("stopped", "stopped on request, and so on", "stopped on request, and so on"),
        ("finished", "", f"the training of run {RUN} ended before it saw the request: finished"),
    ],
)
def test_stop_waits_for_the_end(paths: Paths, state: Any, message: str, says: str) -> None:
    heart = HeartbeatWriter(paths.live(RUN) / "progress.json", stage="train", study="s", run=RUN, device="cpu")

    def trainer() -> None:
        while not request_of(paths.live(RUN)).exists():
            time.sleep(0.01)
        heart.close(state, message)

    worker = threading.Thread(target=trainer, daemon=True)
    worker.start()
    assert stop_training(paths, RUN, patience=60) == says
    worker.join()


def test_stop_gives_up_waiting_after_its_time_limit(paths: Paths) -> None:
    HeartbeatWriter(paths.live(RUN) / "progress.json", stage="train", study="s", run=RUN, device="cpu")
    assert "was asked to stop" in stop_training(paths, RUN, patience=0)
    assert request_of(paths.live(RUN)).exists()
