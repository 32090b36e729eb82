from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from ssmlab.artifacts.checkpoint import load
from ssmlab.artifacts.heartbeat import read_heartbeat, state_of
from ssmlab.artifacts.history import read_history
from ssmlab.artifacts.manifest import read_manifest
from ssmlab.artifacts.metadata import count_parameters, read_metadata
from ssmlab.core.errors import Interrupted, UserError
from ssmlab.core.events import Event, Note, Progress
from ssmlab.data.dataset import load_dataset
from ssmlab.data.pixels import to_unit
from ssmlab.params import AveragingParams, Params
from ssmlab.params.paths import Paths
from ssmlab.project.params_file import load_params
from ssmlab.stages.prepare import prepare
from ssmlab.stages.train.stage import train

RUN = "ads"
PUBLISHED = {"best.safetensors", "last.safetensors", "history.csv", "manifest.json"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    params = load_params(Path(__file__).parents[3] / "studies" / "smoke.yaml")
    prepare(params, Paths(params.study, root))
    return Paths(params.study, root).prepared


@pytest.fixture
def paths(tmp_path: Path, prepared: Path, tiny_params: Params) -> Paths:
    paths = Paths(tiny_params.study, tmp_path)
    paths.prepared.parent.mkdir()
    paths.prepared.symlink_to(prepared)
    return paths


def with_train(params: Params, **changes: Any) -> Params:
    run = params.runs[RUN]
    return params.model_copy(
        update={"runs": {RUN: run.model_copy(update={"train": run.train.model_copy(update=changes)})}}
    )


def after_epoch(number: int, act: Callable[[], None]) -> Callable[[Event], None]:
    """A listener that acts when epoch `number` is announced as done."""

    def listen(event: Event) -> None:
        if isinstance(event, Note) and event.text.startswith(f"epoch {number}/"):
            act()

    return listen


def interrupt() -> None:
    raise KeyboardInterrupt


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def earlier_results(paths: Paths) -> dict[str, bytes]:
    paths.model(RUN).mkdir(parents=True)
    for name in PUBLISHED:
        (paths.model(RUN) / name).write_text(f"earlier {name}")
    return contents(paths.model(RUN))


def one_line(error: BaseException) -> bool:
    return "\n" not in str(error)


def test_a_training_writes_checkpoints_history_log_and_heartbeat(tiny_params: Params, paths: Paths) -> None:
    events: list[Event] = []
    rng = torch.get_rng_state()
    train(tiny_params, RUN, paths, on_event=events.append)
    assert torch.equal(torch.get_rng_state(), rng)

    assert contents(paths.model(RUN)).keys() == PUBLISHED
    rows = read_history(paths.model(RUN) / "history.csv")
    assert [row.epoch for row in rows] == [1, 2]
    best, last = (read_metadata(paths.checkpoint(RUN, which)) for which in ("best", "last"))
    winner = max(rows, key=lambda row: (row.val_robust, row.val_clean))
    assert (best.which, best.epoch, best.val_robust, best.val_clean) == (
        "best",
        winner.epoch,
        winner.val_robust,
        winner.val_clean,
    )
    assert (last.which, last.epoch, last.val_robust) == ("last", 2, rows[-1].val_robust)
    assert last.train == tiny_params.run(RUN).train
    assert last.data_fingerprint == load_dataset(paths.prepared).fingerprint

    heartbeat = read_heartbeat(paths.live(RUN) / "progress.json")
    assert heartbeat is not None
    assert (heartbeat.stage, heartbeat.study, heartbeat.run, heartbeat.pid) == ("train", "smoke", RUN, os.getpid())
    assert state_of(heartbeat, heartbeat.time) == "finished"
    assert (heartbeat.epoch, heartbeat.epochs, heartbeat.step, heartbeat.steps) == (2, 2, rows[-1].step, rows[-1].step)
    assert heartbeat.robust == rows[-1].val_robust

    notes = [event.text for event in events if isinstance(event, Note)]
    accuracies = f"clean {rows[0].val_clean:.1%}  robust {rows[0].val_robust:.1%}"
    assert f"epoch 1/2  {accuracies}  loss {rows[0].train_loss:.3f}  best" in notes
    log = (paths.live(RUN) / "log.txt").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in log] == notes
    assert all(datetime.fromisoformat(line.split(" ", 1)[0]).tzinfo for line in log)

    progress = [event for event in events if isinstance(event, Progress)]
    steps = rows[0].step
    assert [(e.task, e.done, e.total) for e in progress if "validation" not in e.task] == [
        (f"epoch {epoch}/2", step, steps) for epoch in (1, 2) for step in range(1, steps + 1)
    ]
    assert progress[-1].done == progress[-1].total == 200  # 100 validation images, 100 training images


def test_the_checkpoint_does_what_its_metadata_says(tiny_params: Params, paths: Paths) -> None:
    train(tiny_params, RUN, paths)
    model, about = load(paths.checkpoint(RUN, "best"))
    held_out = load_dataset(paths.prepared).validation
    right = (model(to_unit(held_out.images)).argmax(1) == held_out.labels).sum().item()
    assert about.val_clean == right / len(held_out)


def test_equal_params_give_equal_bytes(tiny_params: Params, paths: Paths) -> None:
    train(tiny_params, RUN, paths)
    first = contents(paths.model(RUN))
    train(tiny_params, RUN, paths)
    again = contents(paths.model(RUN))
    train(with_train(tiny_params, seed=1), RUN, paths)
    other = contents(paths.model(RUN))
    for name in ("best.safetensors", "last.safetensors"):
        assert first[name] == again[name] != other[name]
    assert len(read_history(paths.live(RUN) / "history.csv")) == 2  # the live history began afresh


def test_an_interrupted_training_publishes_nothing(tiny_params: Params, paths: Paths) -> None:
    earlier = earlier_results(paths)
    with pytest.raises(Interrupted, match=f"run {RUN} stopped at epoch 1; .*untouched.*ssmlab train {RUN}") as caught:
        train(tiny_params, RUN, paths, on_event=after_epoch(1, interrupt))
    assert caught.value.code == 130
    assert one_line(caught.value)
    assert contents(paths.model(RUN)) == earlier
    heartbeat = read_heartbeat(paths.live(RUN) / "progress.json")
    assert heartbeat is not None and (heartbeat.state, heartbeat.epoch) == ("stopped", 1)
    assert "stopped at epoch 1" in (paths.live(RUN) / "log.txt").read_text()
    assert load(paths.live(RUN) / "last.safetensors")[1].epoch == 1

    train(tiny_params, RUN, paths)  # and it can start again
    assert contents(paths.model(RUN)).keys() == PUBLISHED
    assert contents(paths.model(RUN)) != earlier


def test_a_training_that_diverges_ends_with_one_line(tiny_params: Params, paths: Paths) -> None:
    earlier = earlier_results(paths)
    optimizer = tiny_params.run(RUN).train.optimizer.model_copy(update={"lr": 1e30, "ssm_lr": 1e30})
    with pytest.raises(UserError, match=f"run {RUN} diverged .*epoch 1, step 2.*optimizer.lr") as caught:
        train(with_train(tiny_params, optimizer=optimizer), RUN, paths)
    assert one_line(caught.value)
    assert contents(paths.model(RUN)) == earlier
    heartbeat = read_heartbeat(paths.live(RUN) / "progress.json")
    assert heartbeat is not None and heartbeat.state == "failed"
    assert "diverged" in heartbeat.message


def test_an_unforeseen_end_is_written_down_and_passed_on(tiny_params: Params, paths: Paths) -> None:
    def explode() -> None:
        raise RuntimeError("boom\nwith details")

    earlier = earlier_results(paths)
    with pytest.raises(RuntimeError, match="boom"):
        train(tiny_params, RUN, paths, on_event=after_epoch(1, explode))
    assert contents(paths.model(RUN)) == earlier
    heartbeat = read_heartbeat(paths.live(RUN) / "progress.json")
    assert heartbeat is not None
    assert (heartbeat.state, heartbeat.message) == ("failed", "RuntimeError: boom")


def test_a_full_disk_in_the_middle_leaves_earlier_results(
    tiny_params: Params, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *rest: object, **settings: object) -> None:
        raise UserError(f"{path}: cannot be written (No space left on device)")

    earlier = earlier_results(paths)
    monkeypatch.setattr("ssmlab.stages.train.state_file.write_atomic", full)
    with pytest.raises(UserError, match="No space left"):
        train(tiny_params, RUN, paths)
    assert contents(paths.model(RUN)) == earlier
    heartbeat = read_heartbeat(paths.live(RUN) / "progress.json")
    assert heartbeat is not None and "No space left" in heartbeat.message


def test_a_second_trainer_is_refused_and_does_no_harm(tiny_params: Params, paths: Paths) -> None:
    refused: list[str] = []

    def again() -> None:
        with pytest.raises(UserError) as caught:
            train(tiny_params, RUN, paths)
        refused.append(str(caught.value))

    train(tiny_params, RUN, paths, on_event=after_epoch(1, again))
    assert len(refused) == 1
    assert f"run {RUN} is being trained by process {os.getpid()};" in refused[0]
    assert len(read_history(paths.model(RUN) / "history.csv")) == 2


@pytest.mark.parametrize(
    ("run", "device", "says"),
    [("nope", None, "no run 'nope'"), (RUN, "cuda", "torch finds no CUDA device"), (RUN, "tpu", "auto, cpu or cuda")],
)
def test_bad_input_is_one_line_and_changes_nothing(
    tiny_params: Params, paths: Paths, monkeypatch: pytest.MonkeyPatch, run: str, device: str | None, says: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=says) as caught:
        train(tiny_params, run, paths, device=device)
    assert one_line(caught.value)
    assert not paths.live(run).exists()


def test_a_training_without_prepared_data_names_the_command(tiny_params: Params, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ssmlab prepare"):
        train(tiny_params, RUN, Paths(tiny_params.study, tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_live_folder_that_cannot_be_made_is_one_line(tiny_params: Params, paths: Paths) -> None:
    (paths.root / "runs").write_text("a file in the way")
    with pytest.raises(UserError, match="cannot be written") as caught:
        train(tiny_params, RUN, paths)
    assert one_line(caught.value)


@pytest.mark.parametrize("place", ["models", "models/tiny", "runs/tiny/RUN/log.txt"])
def test_a_place_where_nothing_can_be_written_is_refused_before_the_first_epoch(
    place: str, tiny_params: Params, paths: Paths
) -> None:
    blocked = paths.root / place.replace("tiny", paths.study).replace("RUN", RUN)
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.mkdir() if blocked.suffix else blocked.write_text("a file where a folder is needed")
    events: list[Event] = []
    with pytest.raises(UserError, match=r"move (it|this folder) away") as caught:
        train(tiny_params, RUN, paths, on_event=events.append)
    assert one_line(caught.value)
    assert events == []


def test_an_averaged_run_publishes_its_average(tiny_params: Params, paths: Paths) -> None:
    params = with_train(tiny_params, averaging=AveragingParams(decay=0.9))
    train(params, RUN, paths)
    model, about = load(paths.checkpoint(RUN, "last"))
    held_out = load_dataset(paths.prepared).validation
    right = (model(to_unit(held_out.images)).argmax(1) == held_out.labels).float().mean().item()
    assert about.val_clean == pytest.approx(right)
    averaged, parameters = contents(paths.model(RUN)), count_parameters(paths.checkpoint(RUN, "last"))
    train(tiny_params, RUN, paths)
    raw, _ = load(paths.checkpoint(RUN, "last"))
    assert not torch.equal(raw.embed.weight, model.embed.weight)
    assert contents(paths.model(RUN))["last.safetensors"] != averaged["last.safetensors"]
    assert count_parameters(paths.checkpoint(RUN, "last")) == parameters > 0


def test_a_training_that_its_patience_ends_is_finished_and_says_so(tiny_params: Params, paths: Paths) -> None:
    """Nothing is learned, so the first epoch stays the best."""
    still = tiny_params.run(RUN).train.optimizer.model_copy(update={"lr": 1e-30, "ssm_lr": 1e-30})
    params = with_train(tiny_params, optimizer=still, patience=1, epochs=9, warmup=0)
    seen: list[Event] = []
    train(params, RUN, paths, on_event=seen.append)
    assert {path.name for path in paths.model(RUN).iterdir()} == PUBLISHED
    assert [row.epoch for row in read_history(paths.model(RUN) / "history.csv")] == [1, 2]
    assert [load(paths.checkpoint(RUN, which))[1].epoch for which in ("best", "last")] == [1, 2]
    assert read_manifest(paths.model(RUN)).ended == "patience"
    assert any(
        isinstance(event, Note) and event.text.startswith("stopped early: no improvement in 1 epochs") for event in seen
    )
    heartbeat = read_heartbeat(paths.live(RUN) / "progress.json")
    assert heartbeat is not None and heartbeat.state == "finished"
