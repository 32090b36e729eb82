"""A tracker gets the numbers of history.csv, each once: from files that grow, are torn, cut, replaced or published."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ssmlab.artifacts.history import Row, append_row, format_history
from ssmlab.core import optional_packages
from ssmlab.core.errors import UserError
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project import sinks
from ssmlab.project.tracking import Tracker


class FakeSink:
    def __init__(self) -> None:
        self.got: list[tuple[str, int, dict[str, float]]] = []
        self.configs: dict[str, Mapping[str, Any]] = {}
        self.flushed = 0

    def add(self, training: str, config: Mapping[str, Any], epoch: int, values: Mapping[str, float]) -> None:
        self.got.append((training, epoch, dict(values)))
        self.configs[training] = config

    def flush(self) -> None:
        self.flushed = len(self.got)

    def close(self) -> None: ...


def rows(epochs: int, loss: float = 2.0) -> list[Row]:
    return [
        Row(
            epoch=epoch,
            step=10 * epoch,
            lr=0.1 / 3,
            train_loss=loss / epoch,
            train_robust=None if epoch == 1 else 0.1 * epoch,
            val_clean=0.5,
            val_robust=epoch / 7,
            seconds=1.5,
            images_per_second=100.0 + epoch,
            epochs=9,
        )
        for epoch in range(1, epochs + 1)
    ]


def from_file(path: Path, training: str = "ads") -> list[tuple[str, int, dict[str, float]]]:
    """What a sink must have, read by the csv module."""
    return from_text(path.read_text(), training)


def from_text(text: str, training: str = "ads") -> list[tuple[str, int, dict[str, float]]]:
    whole = text[: text.rfind("\n") + 1]  # without a line that is still being written
    return [
        (training, int(line.pop("epoch")), {k: float(v) for k, v in line.items() if v and k != "epochs"})
        for line in csv.DictReader(whole.splitlines())
    ]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = Paths("smoke", tmp_path)
    paths.live("ads").mkdir(parents=True)
    return paths


@pytest.fixture
def history(paths: Paths) -> Path:
    return paths.live("ads") / "history.csv"


def tracker(params: Params, paths: Paths, sink: FakeSink) -> Tracker:
    return Tracker(["ads"], params, paths, sink, paths.root / "tracked" / "smoke.json")


def test_a_growing_history_is_sent_once_and_a_torn_line_when_it_is_whole(
    tiny_params: Params, paths: Paths, history: Path
) -> None:
    sink = FakeSink()
    following = tracker(tiny_params, paths, sink)
    assert following.poll() == 0
    whole = format_history(rows(5)).encode()
    for end in range(0, len(whole) + 1, 37):
        history.write_bytes(whole[:end])
        following.poll()
        following.poll()
        assert sink.got == from_text(whole[:end].decode())
    history.write_bytes(whole)
    following.poll()
    assert sink.got == from_file(history) and sink.flushed == len(sink.got) == 5
    assert sink.configs == {"ads": tiny_params.run("ads").plain()}


def test_a_new_start_of_the_tracker_sends_nothing_again(tiny_params: Params, paths: Paths, history: Path) -> None:
    history.write_text(format_history(rows(2)))
    first, second = FakeSink(), FakeSink()
    assert tracker(tiny_params, paths, first).poll() == 2
    append_row(history, rows(3)[2])
    assert tracker(tiny_params, paths, second).poll() == 1
    assert first.got + second.got == from_file(history)


def test_epochs_that_a_resumed_training_repeats_are_not_sent_again(
    tiny_params: Params, paths: Paths, history: Path
) -> None:
    sink = FakeSink()
    following = tracker(tiny_params, paths, sink)
    history.write_text(format_history(rows(3)))
    following.poll()
    first = from_file(history)
    history.write_text(format_history(rows(1)))
    assert following.poll() == 0
    history.write_text(format_history([rows(1)[0], *(row._replace(seconds=9.0) for row in rows(4)[1:])]))
    assert following.poll() == 1
    assert sink.got == first + from_file(history)[3:]


def test_a_training_with_other_numbers_gets_a_name_of_its_own(tiny_params: Params, paths: Paths, history: Path) -> None:
    sink = FakeSink()
    following = tracker(tiny_params, paths, sink)
    history.write_text(format_history(rows(3)))
    following.poll()
    first = from_file(history)
    history.write_text(format_history(rows(2, loss=3.0)))
    assert following.poll() == 2
    assert sink.got == first + from_file(history, "ads-2")
    assert following.poll() == 0


def test_publishing_a_history_sends_nothing_again(tiny_params: Params, paths: Paths, history: Path) -> None:
    sink = FakeSink()
    following = tracker(tiny_params, paths, sink)
    history.write_text(format_history(rows(3)))
    following.poll()
    paths.model("ads").mkdir(parents=True)
    history.rename(paths.model("ads") / "history.csv")
    assert following.poll() == 0 and len(sink.got) == 3


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_package_that_is_missing_is_one_line(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(optional_packages, "import_module", missing)
    with pytest.raises(UserError, match=rf"{kind} is not installed; run `pip install 'ssmlab\[{kind}\]'`"):
        sinks.open_sink(kind, tmp_path, "smoke")


def test_tensorboard_reads_the_numbers_from_its_event_files(
    tiny_params: Params, paths: Paths, history: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history.write_text(format_history(rows(4)))
    sink = sinks.open_sink("tensorboard", tmp_path / "events", "smoke")
    Tracker(["ads"], tiny_params, paths, sink, tmp_path / "sent.json").poll()
    sink.close()
    events = EventAccumulator(str(tmp_path / "events" / "ads")).Reload()
    expected: dict[str, list[tuple[int, float]]] = {}
    for _, epoch, values in from_file(history):
        for name, value in values.items():
            expected.setdefault(name, []).append((epoch, value))
    assert set(events.Tags()["scalars"]) == set(expected)
    for name, points in expected.items():
        read = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in read] == [step for step, _ in points]
        assert [value for _, value in read] == pytest.approx([value for _, value in points], rel=1e-6)  # float32


def test_wandb_writes_a_run_offline(tiny_params: Params, paths: Paths, history: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    history.write_text(format_history(rows(2)))
    sink = sinks.open_sink("wandb", tmp_path / "offline", "smoke")
    Tracker(["ads"], tiny_params, paths, sink, tmp_path / "sent.json").poll()
    sink.close()
    assert len(list((tmp_path / "offline").rglob("*smoke-ads.wandb"))) == 1
