"""A training that is interrupted anywhere continues from its last complete epoch and ends with the same bytes."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from ssmlab.artifacts.heartbeat import HeartbeatWriter, read_heartbeat, state_of
from ssmlab.artifacts.history import Row, read_history
from ssmlab.artifacts.manifest import read_manifest
from ssmlab.artifacts.metadata import read_metadata
from ssmlab.core.errors import Interrupted, UserError
from ssmlab.core.events import Event, Note, Progress
from ssmlab.core.files import sha256_file
from ssmlab.core.stage_code import PACKAGE
from ssmlab.core.tensors import read_tensors_file, sealable_metadata, sealed
from ssmlab.data.dataset import Dataset, Split, make_dataset, save_dataset
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.stages.attack.stage import attack
from ssmlab.stages.train.stage import train
from ssmlab.stages.train.state_file import KEY, Identity, SavedState, code_version, save_state, with_saved_threads
from ssmlab.stages.train.stop_request import request_of, stop_training
from ssmlab.training.regimes import base
from ssmlab.training.state import TrainingState

RUN, EPOCHS = "ads", 3
CHECKPOINTS = ("best.safetensors", "last.safetensors")


def split(images: int, seed: int) -> Split:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (images,), generator=draw)
    pixels = torch.randint(80, (images, 1, 14, 14), generator=draw, dtype=torch.uint8)
    for image, label in zip(pixels, labels.tolist(), strict=True):
        image[:, 4 * label : 4 * label + 4] += 150
    return Split(pixels, labels, torch.arange(images))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset("toy", 3, {"train": split(60, 0), "validation": split(20, 1), "test": split(20, 2)})


@pytest.fixture
def params(tiny_params: Params) -> Params:
    run = tiny_params.run(RUN)
    settings = run.train.model_copy(update={"epochs": EPOCHS, "batch_size": 20})
    model = run.model.model_copy(update={"dropout": 0.2, "layers": 1})
    return tiny_params.model_copy(update={"runs": {RUN: run.model_copy(update={"train": settings, "model": model})}})


def changed(params: Params, **changes: Any) -> Params:
    run = params.run(RUN)
    settings = run.train.model_copy(update=changes)
    return params.model_copy(update={"runs": {RUN: run.model_copy(update={"train": settings})}})


@pytest.fixture
def paths(tmp_path: Path, dataset: Dataset, params: Params) -> Paths:
    return new_paths(tmp_path / "here", dataset, params)


def new_paths(root: Path, dataset: Dataset, params: Params) -> Paths:
    paths = Paths(params.study, root)
    save_dataset(paths.prepared, dataset)
    return paths


@pytest.fixture
def whole(tmp_path: Path, dataset: Dataset, params: Params) -> dict[str, Any]:
    """The result of a training that is not interrupted."""
    paths = new_paths(tmp_path / "in peace", dataset, params)
    train(params, RUN, paths)
    assert len({file.read_bytes() for file in paths.model(RUN).glob("*.safetensors")}) == 2
    return outcome(paths)


def outcome(paths: Paths) -> dict[str, Any]:
    """The published files, histories without their timings; the live folder agrees with them."""
    model, live = paths.model(RUN), paths.live(RUN)
    assert {path.name for path in model.iterdir()} == {*CHECKPOINTS, "history.csv", "manifest.json"}
    for name in (*CHECKPOINTS, "history.csv"):
        assert (model / name).read_bytes() == (live / name).read_bytes(), name
    rows: list[Row] = [row._replace(seconds=0, images_per_second=0) for row in read_history(model / "history.csv")]
    return {"rows": rows, **{name: (model / name).read_bytes() for name in CHECKPOINTS}}


def at(task: str, act: Callable[[], object]) -> Callable[[Event], None]:
    """A listener that acts once, when the first step of a task is done."""
    seen: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.task == task and task not in seen:
            seen.append(task)
            act()

    return listen


def interrupt() -> None:
    raise KeyboardInterrupt


def notes_of(params: Params, paths: Paths, **rest: Any) -> list[str]:
    seen: list[str] = []
    train(
        params, RUN, paths, on_event=lambda event: seen.append(event.text) if isinstance(event, Note) else None, **rest
    )
    return seen


def break_off(params: Params, paths: Paths, epoch: int = 2) -> None:
    """Leave the state of the epoch before `epoch`."""
    with pytest.raises(Interrupted):
        train(params, RUN, paths, on_event=at(f"epoch {epoch}/{EPOCHS}", interrupt))


@pytest.mark.parametrize("task", ["epoch 1/3", "epoch 2/3", "epoch 2/3: validation", "epoch 3/3"])
def test_interrupted_and_resumed_gives_the_same_bytes(
    params: Params, paths: Paths, whole: dict[str, Any], task: str
) -> None:
    done = int(task[6]) - 1
    says = f"goes on from epoch {done}" if done else "no epoch was done.*starts again"
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


class Disk:
    """A disk that dies at its `left`-th change from now; until it is repaired, every change fails."""

    CHANGES = ("replace", "fsync", "write", "chmod", "unlink")

    def __init__(self, left: int) -> None:
        self.left = left

    def spent(self) -> bool:
        self.left -= 1
        return self.left < 0

    @contextmanager
    def in_use(self) -> Iterator[None]:
        def dying(call: Callable[..., Any]) -> Callable[..., Any]:
            def change(*arguments: Any, **named: Any) -> Any:
                if self.spent():
                    raise OSError(errno.EIO, "Input/output error")
                return call(*arguments, **named)

            return change

        with pytest.MonkeyPatch.context() as patch:
            for name in self.CHANGES:
                patch.setattr(os, name, dying(getattr(os, name)))
            yield


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


@pytest.mark.parametrize("epoch", [1, 3])
def test_an_error_says_what_is_kept_and_how_to_go_on(params: Params, paths: Paths, epoch: int) -> None:
    disk = Disk(10**9)

    def die() -> None:
        disk.left = 0

    with disk.in_use(), pytest.raises(UserError, match=r"Input/output error.*earlier results are untouched") as caught:
        train(params, RUN, paths, on_event=at(f"epoch {epoch}/{EPOCHS}", die))
    assert (f"goes on from epoch {epoch - 1}" if epoch > 1 else "no epoch was done") in str(caught.value)


def test_interrupted_publishing_is_reported_and_completed_by_the_next_start(
    params: Params, paths: Paths, whole: dict[str, Any]
) -> None:
    in_the_way = paths.model(RUN) / "history.csv"
    in_the_way.mkdir(parents=True)
    with pytest.raises(UserError, match=rf"history\.csv.*published in part; .*goes on from epoch {EPOCHS}"):
        train(params, RUN, paths)
    in_the_way.rmdir()
    assert not any(note.startswith("epoch ") for note in notes_of(params, paths))  # nothing is left to train
    assert outcome(paths) == whole


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
    assert notes[0] == f"the state of an earlier training of {RUN} is of other parameters; it is kept as {kept}"
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
    assert "is of other parameters; it is kept as" in notes_of(changed(params, threads=2), paths)[0]


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


def test_a_checkpoint_says_how_many_threads_trained_it(params: Params, paths: Paths) -> None:
    before = torch.get_num_threads()
    train(changed(params, threads=2, epochs=1), RUN, paths)
    assert read_metadata(paths.checkpoint(RUN, "last")).threads == 2
    assert torch.get_num_threads() == before


def test_another_data_set_starts_afresh(params: Params, paths: Paths) -> None:
    break_off(params, paths)
    other = make_dataset("toy", 3, {"train": split(60, 5), "validation": split(20, 1), "test": split(20, 2)})
    save_dataset(paths.prepared, other)
    assert "is of another data set; it is kept as" in notes_of(params, paths)[0]


def test_a_state_is_refused_after_the_rule_that_selects_the_best_epoch_has_changed(
    params: Params, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(params, paths)
    package = tmp_path / "package"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    rule = package / "params" / "train.py"
    text = rule.read_text()
    assert "def score(" in text
    rule.write_text(text.replace("def score(", "def score(  # changed\n", 1))
    monkeypatch.setattr("ssmlab.stages.train.stage.code_version", lambda: code_version(package))
    assert "is of another version of the code; it is kept as" in notes_of(params, paths)[0]


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
    assert "cannot be read: it is damaged or of another version; it is kept as" in notes_of(params, paths)[0]
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
    "epochs that do not follow": lambda _, header: header["rows"][0].__setitem__(0, 2),
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


def test_a_change_of_params_while_a_run_trains_is_not_published(
    params: Params, paths: Paths, whole: dict[str, Any]
) -> None:
    """DVC hashes params.yaml after the stage: it would take the old training for one with the new params."""
    asked = {"now": params}

    def edit() -> None:
        asked["now"] = changed(params, seed=1)

    with pytest.raises(
        UserError, match=r"params\.yaml has changed since the training of ads started, so it is not pub"
    ):
        train(params, RUN, paths, on_event=at(f"epoch 2/{EPOCHS}", edit), reread=lambda: asked["now"])
    assert not paths.model(RUN).exists()
    asked["now"] = params  # put back, what was trained is published, and nothing is trained twice
    assert not any(note.startswith("epoch ") for note in notes_of(params, paths, reread=lambda: asked["now"]))
    assert outcome(paths) == whole


def test_a_change_of_the_data_while_a_run_trains_is_not_published(params: Params, paths: Paths) -> None:
    other = make_dataset("toy", 3, {"train": split(60, 5), "validation": split(20, 1), "test": split(20, 2)})
    with pytest.raises(UserError, match=r"data/smoke\.safetensors has changed"):
        train(params, RUN, paths, on_event=at(f"epoch 2/{EPOCHS}", lambda: save_dataset(paths.prepared, other)))
    assert not paths.model(RUN).exists()


def test_a_change_of_the_code_while_a_run_trains_is_not_published(
    params: Params, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit() -> None:
        monkeypatch.setattr("ssmlab.artifacts.stage_run.code_fingerprint", lambda stage: "other")

    with pytest.raises(UserError, match="the code of ssmlab has changed"):
        train(params, RUN, paths, on_event=at(f"epoch 2/{EPOCHS}", edit))
    assert not paths.model(RUN).exists()


def test_the_manifest_says_what_was_trained_and_how_far(params: Params, paths: Paths) -> None:
    train(params, RUN, paths)
    manifest = read_manifest(paths.model(RUN))
    assert (manifest.epochs_done, manifest.epochs_asked, manifest.ended) == (EPOCHS, EPOCHS, "all epochs")
    assert manifest.files == {name: sha256_file(paths.model(RUN) / name) for name in (*CHECKPOINTS, "history.csv")}
    provenance = manifest.provenance
    assert provenance.params == {"study": params.study, **params.run(RUN).plain()}
    assert list(provenance.inputs) == ["data/smoke.safetensors"]
    assert provenance.threads == torch.get_num_threads()
    assert provenance.versions["torch"] == version("torch")


def test_equal_trainings_give_equal_bytes_of_attack_results(
    tmp_path: Path, dataset: Dataset, params: Params, paths: Paths
) -> None:
    """Also if one was interrupted: the timings, which differ, are in no result."""
    gentle = {"fgsm": params.attack.attacks["fgsm"].model_copy(update={"images": 20})}
    params = params.model_copy(update={"attack": params.attack.model_copy(update={"attacks": gentle})})
    others = new_paths(tmp_path / "in peace", dataset, params)
    break_off(params, paths)
    for each in (paths, others):
        train(params, RUN, each)
        attack(params, RUN, each)
    histories = [(each.model(RUN) / "history.csv").read_bytes() for each in (paths, others)]
    assert histories[0] != histories[1]
    assert paths.attack(RUN).read_bytes() == others.attack(RUN).read_bytes()


def test_a_training_that_is_asked_to_stop_publishes_and_can_go_on(
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
    assert f"stopped as asked, epoch 2/{EPOCHS} is published" in beat.message
    assert f"ssmlab repro {RUN} --force" in notes[-1]

    assert f"continuing after epoch 2/{EPOCHS}" in notes_of(params, paths)  # the old request asks no more
    assert outcome(paths) == whole


def test_a_training_that_is_asked_to_stop_in_its_first_epoch_publishes_nothing(
    params: Params, paths: Paths, whole: dict[str, Any]
) -> None:
    with pytest.raises(Interrupted, match=r"stopped at epoch 1; no epoch was done"):
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
        ("stopped", "stopped as asked, and so on", "stopped as asked, and so on"),
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
    assert "is asked to stop" in stop_training(paths, RUN, patience=0)
    assert request_of(paths.live(RUN)).exists()


def test_a_diverged_training_names_the_images_and_keeps_the_last_good_state(
    params: Params, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count(1)

    def breaking(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, y) * (float("nan") if next(calls) > 4 else 1)

    monkeypatch.setattr(base, "smoothed_cross_entropy", lambda smoothing: breaking)
    with pytest.raises(UserError, match=r"epoch 2, step 5\) on images \d+, .* \.\.\.; lower .*goes on from epoch 1"):
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
    with pytest.raises(UserError, match=r"is out of memory; lower its train\.batch_size; no epoch was done") as caught:
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
