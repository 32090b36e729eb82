"""Real processes that train one run together: only one writes and prints, and all end when one ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ssmlab.artifacts.heartbeat import read_heartbeat
from ssmlab.artifacts.history import read_history
from ssmlab.core.errors import UserError
from ssmlab.data.dataset import Dataset, Split, make_dataset, save_dataset
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.history_reader import HistoryReader
from ssmlab.project.params_file import load_params
from ssmlab.stages.train.follower import start_model
from ssmlab.stages.train.stage import train
from ssmlab.stages.train.state_file import Identity
from ssmlab.training.distributed import Group

PROJECT = Path(__file__).resolve().parents[3]
LIVE, MODEL = Path("runs/smoke/ads"), Path("models/smoke/ads")
FOREVER = 500
pytestmark = pytest.mark.xdist_group("distributed")


def split(images: int, seed: int) -> Split:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (images,), generator=draw)
    return Split(
        torch.randint(250, (images, 1, 14, 14), generator=draw, dtype=torch.uint8), labels, torch.arange(images)
    )


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return make_dataset("toy", 3, {"train": split(60, 0), "validation": split(20, 1), "test": split(20, 2)})


@pytest.fixture
def folders(tmp_path: Path, dataset: Dataset) -> tuple[Path, Path]:
    """A folder for each process, so that a test can see which process wrote what."""
    one, other = tmp_path / "first", tmp_path / "second"
    for folder in (one, other):
        save_dataset(Paths("smoke", folder).prepared, dataset)
    return one, other


def write_study(folders: tuple[Path, ...], epochs: int) -> None:
    text = (PROJECT / "studies" / "smoke.yaml").read_text()
    text = text.replace("kind: autoattack", "kind: square").replace(
        "      steps: 3\n", ""
    )  # AutoAttack needs 4 classes
    for folder in folders:
        changed = text.replace("epochs: 2\n", f"epochs: {epochs}\n").replace("batch_size: 256\n", "batch_size: 25\n")
        (folder / "params.yaml").write_text(changed)


def until(folder: Path, epochs: int, process: subprocess.Popen[str]) -> None:
    """Wait until the history has this many epochs; fail after two minutes."""
    deadline = time.monotonic() + 120
    while len(HistoryReader(folder / LIVE / "history.csv").poll()) < epochs:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)


class Pair:
    """Two processes of one training, each in its folder, as torchrun would start them."""

    def __init__(self, folders: tuple[Path, Path]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        paths = {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", "ssmlab", "train", "ads"],
                cwd=folder,
                env=os.environ | shared | paths | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank, folder in enumerate(folders)
        ]

    def end(self) -> tuple[list[int], list[str], list[str]]:
        """Wait for both ends: exit codes, and what each wrote to its stdout and stderr."""
        texts = [process.communicate(timeout=120) for process in self.processes]
        return [process.returncode for process in self.processes], [t[0] for t in texts], [t[1] for t in texts]


@pytest.fixture
def start(folders: tuple[Path, Path]) -> Iterator[Callable[[], Pair]]:
    pairs: list[Pair] = []

    def begin() -> Pair:
        pairs.append(Pair(folders))
        return pairs[-1]

    yield begin
    for process in (process for pair in pairs for process in pair.processes):
        if process.poll() is None:
            process.kill()
            process.communicate()


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_only_rank_zero_writes_and_prints_and_the_result_is_that_of_one_process(
    folders: tuple[Path, Path], start: Callable[[], Pair], tmp_path: Path
) -> None:
    write_study(folders, epochs=2)
    before = files_of(folders[1])
    codes, out, err = start().end()
    assert codes == [0, 0], err
    assert "training ads: 2 epochs of 60 images on cpu, 2 processes" in out[0] and "are written" in out[0]
    assert (out[1], err) == ("", ["", ""])
    assert files_of(folders[1]) == before

    alone = Paths("smoke", tmp_path / "alone")
    shutil.copytree(folders[1], alone.root)
    train(load_params(alone.root / "params.yaml"), "ads", alone)
    assert files_of(folders[0]) == files_of(alone.root)
    rows, expected = (read_history(root / MODEL / "history.csv") for root in (folders[0], alone.root))
    assert [(row.epoch, row.step) for row in rows] == [(1, 3), (2, 6)]
    assert [row.train_loss for row in rows] == pytest.approx([row.train_loss for row in expected], rel=1e-3)
    theirs, ours = (load_file(root / MODEL / "last.safetensors") for root in (folders[0], alone.root))
    assert theirs.keys() == ours.keys()
    for name, tensor in ours.items():
        # a step of AdamW is lr for a gradient that is only rounding: single elements may go another way
        assert (theirs[name] - tensor).abs().mean() < 1e-4


def test_if_one_rank_is_killed_all_end_and_can_continue(folders: tuple[Path, Path], start: Callable[[], Pair]) -> None:
    write_study(folders, epochs=FOREVER)
    pair = start()
    until(folders[0], 2, pair.processes[0])
    pair.processes[1].kill()
    codes, _, err = pair.end()
    assert codes == [1, -signal.SIGKILL]
    (line,) = err[0].splitlines()
    assert line.startswith("error: another process of this training has ended")
    assert "`ssmlab train ads` continues after epoch" in line
    beat = read_heartbeat(folders[0] / LIVE / "progress.json")
    assert beat is not None and (beat.state, "another process" in beat.message) == ("failed", True)
    done = len(read_history(folders[0] / LIVE / "history.csv"))

    pair = start()
    until(folders[0], done + 1, pair.processes[0])
    (folders[0] / LIVE / "stop").touch()
    codes, out, err = pair.end()
    assert codes == [0, 0], err
    assert f"continuing after epoch {done}/{FOREVER}" in out[0] and "stopped on request" in out[0]
    assert (out[1], err) == ("", ["", ""])
    epochs = [row.epoch for row in read_history(folders[0] / MODEL / "history.csv")]
    assert epochs == list(range(1, len(epochs) + 1)) and len(epochs) > done


@pytest.mark.slow
@pytest.mark.parametrize("told", [(0,), (1,), (0, 1)])
def test_a_signal_ends_both_ranks(folders: tuple[Path, Path], start: Callable[[], Pair], told: tuple[int, ...]) -> None:
    write_study(folders, epochs=FOREVER)
    pair = start()
    until(folders[0], 2, pair.processes[0])
    for rank in told:
        pair.processes[rank].terminate()
    codes, out, err = pair.end()
    assert all(codes)
    assert [len(text.splitlines()) for text in err] == [1, 0]
    assert err[0].startswith("error: ") and "Traceback" not in err[0]
    assert out[1] == ""
    assert not (folders[0] / MODEL).exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("lr: 5.0e-3", "lr: 1.0e30", "error: training of run ads diverged"),
        ("device: auto", "device: gpu", "error: params.yaml"),
        ("study: smoke", "study: other", "error: data/other.safetensors"),
    ],
)
def test_an_error_of_all_ranks_is_printed_once(
    folders: tuple[Path, Path], start: Callable[[], Pair], key: str, value: str, says: str
) -> None:
    write_study(folders, epochs=2)
    for folder in folders:
        text = (folder / "params.yaml").read_text()
        assert key in text
        (folder / "params.yaml").write_text(text.replace(key, value))
    codes, _, err = start().end()
    assert codes == [1, 1]
    assert err[0].startswith(says) and len(err[0].splitlines()) == 1
    assert err[1] == ""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_torchrun_trains_with_two_processes(folders: tuple[Path, Path], number: signal.Signals) -> None:
    """Its workers have their own sessions: a signal reaches only torchrun, and it cannot pass on SIGKILL.

    Then each worker ends by itself, and the first may see that the other has ended before it is told to stop.
    """
    folder = folders[0]
    write_study((folder,), epochs=FOREVER)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*launcher, "-m", "ssmlab", "train", "ads"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(folder, 2, process)
    process.send_signal(number)
    text, _ = process.communicate(
        timeout=120
    )  # its workers hold the pipe too, so the end of the pipe means that all have ended
    beat = read_heartbeat(folder / LIVE / "progress.json")
    assert beat is not None
    if number == signal.SIGKILL and "error: another process of this training has ended" in text:
        assert beat.state == "failed"
    else:
        assert "error: training of run ads stopped at epoch" in text
        assert beat.state == "stopped"


class TwoThat:
    """A fake group whose second process differs from the first in one thing."""

    size = 2

    def __init__(self, **different: str) -> None:
        self.different = different

    def all_gather(self, about: Identity) -> list[Identity]:
        return [about, about.model_copy(update=self.different)]


@pytest.mark.parametrize(("key", "words"), [("parameters", "other parameters"), ("data_set", "another data set")])
def test_ranks_with_different_params_do_not_start(tiny_params: Params, dataset: Dataset, key: str, words: str) -> None:
    about = Identity(run="ads", parameters="a", data_set="b", code="c", device="cpu", threads=1)
    group: Any = TwoThat(**{key: "x"})
    with pytest.raises(UserError, match=f"process 2 of 2 has {words}"):
        start_model(tiny_params.run("ads"), dataset, about, torch.device("cpu"), group)
    _, state = start_model(tiny_params.run("ads"), dataset, about, torch.device("cpu"), Group())
    assert state is None
