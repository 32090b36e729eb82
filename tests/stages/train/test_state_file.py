"""A training that is interrupted anywhere continues from its last complete epoch and ends with the same bytes."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ssmlab.core.errors import Interrupted, UserError
from ssmlab.core.stage_code import PACKAGE
from ssmlab.core.tensors import read_tensors_file, sealable_metadata, sealed
from ssmlab.data.dataset import Dataset, make_dataset, save_dataset
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.stages.train.stage import train
from ssmlab.stages.train.state_file import KEY, Identity, SavedState, code_version, save_state, with_saved_threads
from ssmlab.training.state import TrainingState
from tests.stages.train.dying_disk import Disk
from tests.stages.train.toy_training import (
    EPOCHS,
    RUN,
    at,
    break_off,
    changed,
    interrupt,
    new_paths,
    notes_of,
    outcome,
    split,
)
from tests.unreadable import unreadable


@pytest.mark.parametrize("task", ["epoch 1/3", "epoch 2/3", "epoch 2/3: validation", "epoch 3/3"])
def test_interrupted_and_resumed_gives_the_same_bytes(
    params: Params, paths: Paths, whole: dict[str, Any], task: str
) -> None:
    done = int(task[6]) - 1
    says = f"continues after epoch {done}" if done else "no epoch was completed.*starts again"
    with pytest.raises(Interrupted, match=says):
        train(params, RUN, paths, on_event=at(task, interrupt))
    notes = notes_of(params, paths)
    assert (f"continuing after epoch {done}/{EPOCHS}" in notes) == (done > 0)
    assert sum(note.startswith("epoch ") for note in notes) == EPOCHS - done  # no epoch was trained twice
    assert outcome(paths) == whole


def test_a_finished_training_starts_afresh(params: Params, paths: Paths, whole: dict[str, Any]) -> None:
    train(params, RUN, paths)
    assert not (paths.live(RUN) / "state.safetensors").exists()
    notes = notes_of(params, paths)
    assert sum(note.startswith("epoch ") for note in notes) == EPOCHS
    assert not any("going on" in note or "afresh" in note for note in notes)
    assert outcome(paths) == whole


def test_live_files_that_a_crash_left_torn_are_written_again_from_the_state(
    params: Params, paths: Paths, whole: dict[str, Any]
) -> None:
    """A crash after the state was written may leave any of the others old, newer, torn or missing."""
    break_off(params, paths, epoch=3)
    live = paths.live(RUN)
    history = (live / "history.csv").read_text()
    (live / "history.csv").write_text(history + history.splitlines()[-1] + "\n3,9,0.0")
    (live / "best.safetensors").unlink()
    (live / "last.safetensors").write_bytes(b"torn")
    (live / ".state.safetensors.abc.tmp").write_bytes(b"half a state")
    paths.model(RUN).mkdir(parents=True)
    (paths.model(RUN) / ".best.safetensors.abc.tmp").write_bytes(b"half a checkpoint")
    train(params, RUN, paths)
    assert outcome(paths) == whole
    assert list(live.glob(".*")) == []


def test_a_training_whose_disk_dies_at_any_change_ends_at_the_same_bytes(
    tmp_path: Path, dataset: Dataset, params: Params, whole: dict[str, Any]
) -> None:
    """A crash is simulated between any two changes of the file system."""
    for point in itertools.count():
        paths, disk = new_paths(tmp_path / str(point), dataset, params), Disk(point)
        try:
            with disk.in_use():
                train(params, RUN, paths)
        except (UserError, OSError) as error:
            assert "\n" not in str(error)
        if disk.left >= 0:
            break  # it lived through the whole training
        train(params, RUN, paths)
        assert outcome(paths) == whole, f"crash point {point}"
        assert list(paths.live(RUN).glob(".*")) == [], f"crash point {point}"
    assert point > 30


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("run", "another run"),
        ("parameters", "other parameters"),
        ("data_set", "another data set"),
        ("code", "another version of the code"),
        ("device", "another device"),
        ("threads", "another number of threads"),
    ],
)
def test_the_difference_of_two_identities_is_said_in_words(name: str, reason: str) -> None:
    one = Identity(run="a", parameters="b", data_set="c", code="d", device="cpu", threads=1)
    assert one.difference(one) == ""
    assert one.difference(one.model_copy(update={name: 2 if name == "threads" else "x"})) == reason


def test_a_state_of_other_params_is_kept_aside_and_used_again_when_they_return(
    params: Params, paths: Paths, whole: dict[str, Any]
) -> None:
    break_off(params, paths)
    notes = notes_of(changed(params, seed=1), paths)
    (kept,) = paths.live(RUN).glob("kept-*.safetensors")
    assert (
        notes[0] == f"the state of an earlier training of {RUN} does not fit (other parameters); it is kept as {kept}"
    )
    assert sum(note.startswith("epoch ") for note in notes) == EPOCHS
    assert len((paths.live(RUN) / "log.txt").read_text().splitlines()) == len(notes)
    assert f"continuing after epoch 1/{EPOCHS}" in notes_of(params, paths)
    assert outcome(paths) == whole
    assert not kept.exists()


def test_at_most_three_states_are_kept_aside(params: Params, paths: Paths) -> None:
    for seed in range(6):
        break_off(changed(params, seed=seed), paths)
    assert len(list(paths.live(RUN).glob("kept-*.safetensors"))) == 3


def test_another_number_of_threads_starts_afresh(params: Params, paths: Paths) -> None:
    break_off(changed(params, threads=1), paths)
    assert "does not fit (other parameters); it is kept as" in notes_of(changed(params, threads=2), paths)[0]


def test_with_auto_a_training_resumes_with_the_threads_it_began_with(
    params: Params, paths: Paths, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although more threads are available now and another number would be chosen."""
    break_off(params, paths)
    monkeypatch.setattr("ssmlab.stages.train.stage.thread_count", lambda *_: 2)
    threads: list[int] = []
    train(params, RUN, paths, on_event=lambda event: threads.append(torch.get_num_threads()))
    assert set(threads) == {1}
    assert outcome(paths) == whole


def test_the_threads_of_a_state_are_taken_over_only_if_nothing_else_differs(tmp_path: Path) -> None:
    file = tmp_path / "state.safetensors"
    began = Identity(run="a", parameters="b", data_set="c", code="d", device="cpu", threads=3)
    now, other = began.model_copy(update={"threads": 1}), began.model_copy(update={"threads": 1, "code": "x"})
    assert with_saved_threads(file, now) == now
    save_state(file, began, SavedState(TrainingState((), {"model.w": torch.zeros(2)}), {}))
    assert with_saved_threads(file, now) == began
    assert with_saved_threads(file, other) == other
    file.write_bytes(b"damaged")
    assert with_saved_threads(file, now) == now


def test_another_data_set_starts_afresh(params: Params, paths: Paths) -> None:
    break_off(params, paths)
    other = make_dataset("toy", 3, {"train": split(60, 5), "validation": split(20, 1), "test": split(20, 2)})
    save_dataset(paths.prepared, other)
    assert "does not fit (another data set); it is kept as" in notes_of(params, paths)[0]


def test_a_state_is_refused_after_the_rule_that_selects_the_best_epoch_has_changed(
    params: Params, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(params, paths)
    package = tmp_path / "package"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    rule = package / "params" / "adversary.py"
    text = rule.read_text()
    assert "def score(" in text
    rule.write_text(text.replace("def score(", "def score(  # changed\n", 1))
    monkeypatch.setattr("ssmlab.stages.train.stage.code_version", lambda: code_version(package))
    assert "does not fit (another version of the code); it is kept as" in notes_of(params, paths)[0]


def test_the_code_version_covers_the_code_of_the_training_and_nothing_else(tmp_path: Path) -> None:
    package = tmp_path / "ssmlab"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = code_version(package)
    assert torch.__version__ in before
    for name in ("cli/app.py", "analysis/claims.py", "nets/__pycache__/s4.cpython-311.pyc", "nets/.s4.py.tmp"):
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text("# changed")
        assert code_version(package) == before
    seen = {before}
    for name in ("nets/s4.py", "training/adversary.py", "params/train.py", "nets/a_new_file.py"):
        (package / name).write_text(f"# {name} changed")
        seen.add(code_version(package))
    assert len(seen) == 5


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    """One bit of one weight is flipped: the file is still complete safetensors."""
    at = len(content) - 1000
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize("damage", [truncated, flipped, lambda content: b"", lambda content: b"x" * 1000])
def test_a_damaged_state_starts_afresh(
    params: Params, paths: Paths, whole: dict[str, Any], damage: Callable[[bytes], bytes]
) -> None:
    break_off(params, paths)
    file = paths.live(RUN) / "state.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    assert "cannot be read: it is damaged or from another version; it is kept as" in notes_of(params, paths)[0]
    assert outcome(paths) == whole


def test_a_state_that_the_disk_does_not_give_stops_the_training_and_is_continued_from_later(
    params: Params, paths: Paths, whole: dict[str, Any]
) -> None:
    break_off(params, paths)
    file = paths.live(RUN) / "state.safetensors"
    before = file.read_bytes()
    with (
        unreadable(file),
        pytest.raises(UserError, match=f"^{file}: cannot be read .Input/output error.*does not start"),
    ):
        train(params, RUN, paths)
    assert file.read_bytes() == before
    assert notes_of(params, paths)[1].startswith("continuing after epoch")
    assert outcome(paths) == whole


def test_a_checkpoint_in_the_place_of_a_state_is_refused(params: Params, paths: Paths, whole: dict[str, Any]) -> None:
    break_off(params, paths)
    (paths.live(RUN) / "last.safetensors").rename(paths.live(RUN) / "state.safetensors")
    assert "cannot be read" in notes_of(params, paths)[0]
    assert outcome(paths) == whole


def rewritten(file: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> None:
    """Change tensors and header of a state file and seal it again, as an attacker could."""
    state = read_tensors_file(file)
    header = state.metadata_object(KEY)
    tensors = safetensors.torch.load(state.content)
    change(tensors, header)
    file.write_bytes(sealed(safetensors.torch.save(tensors, {KEY: sealable_metadata(header)})))


def as_bytes(text: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)  # (bytes,)


HOSTILE: dict[str, Callable[[dict[str, torch.Tensor], dict[str, Any]], None]] = {
    "a file outside the live folder": lambda t, _: t.update({"file:../../../evil.py": as_bytes(b"import os")}),
    "a third file": lambda t, _: t.update({"file:extra.safetensors": t["file:best.safetensors"].clone()}),
    "a missing checkpoint": lambda t, _: t.__delitem__("file:best.safetensors"),
    "a checkpoint that is none": lambda t, _: t.update({"file:best.safetensors": as_bytes(b"import os")}),
    "best in the place of last": lambda t, _: t.update({"file:last.safetensors": t["file:best.safetensors"].clone()}),
    "no epochs": lambda _, header: header.update(rows=[]),
    "missing or out of order": lambda _, header: header["rows"][0].__setitem__(0, 2),
    "a weight of another shape": lambda t, _: t.update({"model.head.bias": torch.zeros(7)}),
    "a weight too many": lambda t, _: t.update({"model.extra": torch.zeros(7)}),
    "no weights": lambda t, _: [t.pop(name) for name in list(t) if name.startswith("model.")] and None,
    "a moment of another parameter": lambda t, _: t.update({"optimizer.999.exp_avg": torch.zeros(1)}),
    "a generator of another size": lambda t, _: t.update({"generator.order": torch.zeros(3, dtype=torch.uint8)}),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_state_with_a_right_digest_over_wrong_content_is_a_fresh_start_with_one_line(
    params: Params, paths: Paths, whole: dict[str, Any], change: Callable[..., None]
) -> None:
    break_off(params, paths)
    rewritten(paths.live(RUN) / "state.safetensors", change)
    notes = notes_of(params, paths)
    assert sum(f"the state of an earlier training of {RUN}" in note for note in notes) == 1
    assert outcome(paths) == whole
    assert list(paths.root.rglob("*.py")) == []
