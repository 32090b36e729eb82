"""The streaming writer against the one that has everything in memory, and interruptions at every step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Note, Progress
from ssmlab.data.dataset import Split, load_dataset, make_dataset, save_dataset
from ssmlab.data.header import SPLITS
from ssmlab.ingest import decode
from ssmlab.ingest.decode import plan_chunks
from ssmlab.ingest.source import Part, Source
from ssmlab.ingest.splits import split_rows
from ssmlab.ingest.workdir import workdir_beside
from ssmlab.ingest.writer import write_dataset
from ssmlab.system import workers
from tests.ingest.fake_source import images_of, made_source

SIZES = {"train": 1300, "validation": 5, "test": 200}


def rows_of(source: Source, seed: int = 0) -> dict:
    labels = {name: part.labels for name, part in source.parts.items()}
    return split_rows(labels, train="all", validation=3, test=4, seed=seed)


def write(path: Path, source: Source, rows: dict | None = None, **settings: object) -> None:
    with workdir_beside(path) as workdir:
        write_dataset(path, source, rows_of(source) if rows is None else rows, 5, workdir, **settings)


def save(path: Path, source: Source, rows: dict | None = None) -> None:
    """The same by the other route: every image computed from its row number, all of it in memory."""
    rows = rows_of(source) if rows is None else rows
    splits = {
        name: Split(
            torch.from_numpy(images_of(taken, source.image_shape)), torch.from_numpy(taken % 3), torch.from_numpy(taken)
        )
        for name, taken in rows.items()
    }
    about = {"source": source.description, "provenance": source.provenance, "seed": 5}
    save_dataset(path, make_dataset(source.name, 3, splits, class_names=source.class_names, **about))


@settings(deadline=None, max_examples=20)
@given(
    st.integers(12, 40),
    st.integers(0, 9),
    st.integers(0, 9),
    st.tuples(*[st.integers(1, 5)] * 3),
    st.integers(0, 99),
    st.booleans(),
)
def test_the_streaming_writer_gives_the_bytes_of_save_dataset(
    tmp_path_factory: pytest.TempPathFactory, train: int, validation: int, test: int, shape, seed: int, encoded: bool
) -> None:
    folder = tmp_path_factory.mktemp("data")
    sizes = (
        {"train": train} | ({"validation": 3 + validation} if validation else {}) | ({"test": 4 + test} if test else {})
    )
    source = made_source(sizes, shape, encoded=encoded)
    write(folder / "a", source, rows_of(source, seed), processes=1)
    save(folder / "b", source, rows_of(source, seed))
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    load_dataset(folder / "a")
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]


def test_an_empty_validation_split_is_written(tmp_path: Path) -> None:
    source = made_source({"train": 20})
    rows = split_rows({"train": source.parts["train"].labels}, train="all", validation=0, test=4, seed=0)
    write(tmp_path / "a", source, rows)
    save(tmp_path / "b", source, rows)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert [len(getattr(load_dataset(tmp_path / "a"), split)) for split in SPLITS] == [16, 0, 4]


def test_workers_give_the_same_bytes_and_load_no_torch(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    source = made_source(SIZES, log=log)
    rows = split_rows({n: p.labels for n, p in source.parts.items()}, train="all", validation=5, test="all", seed=0)
    events: list[Event] = []
    write(tmp_path / "two", source, rows, processes=2, listen=events.append)
    assert str(os.getpid()) not in [file.name for file in log.iterdir()]
    assert {file.read_text() for file in log.iterdir()} == {"False"}
    write(tmp_path / "one", source, rows, processes=1)
    assert str(os.getpid()) in [file.name for file in log.iterdir()]
    save(tmp_path / "memory", source, rows)
    assert (tmp_path / "two").read_bytes() == (tmp_path / "one").read_bytes() == (tmp_path / "memory").read_bytes()

    told = [event for event in events if isinstance(event, Progress) and event.task == "decode"]
    assert [(event.done, event.total) for event in (told[0], told[-1])] == [(0, 1505), (1505, 1505)]
    assert [event.done for event in told] == sorted(event.done for event in told)
    assert all(event.eta is not None and event.images_per_second for event in told[2:])
    assert told[-1].eta == 0.0


def test_arrays_are_not_sent_to_workers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    write(tmp_path / "toy", made_source(SIZES, encoded=False, log=log))
    assert [file.name for file in log.iterdir()] == [str(os.getpid())]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_damaged_image_is_one_line_and_leaves_the_old_data(processes: int, tmp_path: Path) -> None:
    path = tmp_path / "toy"
    write(path, made_source({"train": 50}))
    before = path.read_bytes()
    with pytest.raises(UserError) as caught:
        write(path, made_source({"train": 1300}, damaged=1100), processes=processes)
    assert str(caught.value) == "train/1100.png: damaged; fetch the archive again"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_under_a_worker_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "toy"
    write(path, made_source({"train": 50}))
    before = path.read_bytes()
    with pytest.raises(
        UserError, match=r"toy: cannot be written \(No space left on device\); make room on its drive; any earlier"
    ):
        write(path, made_source({"train": 1300}, full=1100), processes=2)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("place", ["os.posix_fallocate", "os.pwrite", "os.pread", "os.fsync", "pathlib.Path.replace"])
def test_a_failure_at_any_step_leaves_the_old_data(
    failure: BaseException, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "toy"
    write(path, made_source({"train": 50}))
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(place, fail)
        with pytest.raises((UserError, KeyboardInterrupt)) as caught:
            write(path, made_source({"train": 60}))
    if isinstance(failure, OSError):
        reason = "No space left on device"
        assert str(caught.value) == (
            f"{path}: cannot be written ({reason}); make room on its drive; any earlier file is unchanged"
        )
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_partial_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr("os.pwrite", lambda file, content, offset: pwrite(file, content[:7], offset))
    write(tmp_path / "a", made_source({"train": 50}))
    monkeypatch.undo()
    save(tmp_path / "b", made_source({"train": 50}))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "toy", made_source({"train": 50}))
    finally:
        os.umask(before)
    assert (tmp_path / "toy").stat().st_mode & 0o777 == 0o640


def test_images_that_cannot_be_pickled_are_decoded_in_this_process(tmp_path: Path) -> None:
    class Local:
        def read(self, rows: np.ndarray) -> np.ndarray:
            return images_of(rows, (1, 2, 2))

    source = Source(
        "made", "made up", "own", ("0", "1", "2"), (1, 2, 2), {"train": Part(np.arange(1300) % 3, Local(), True)}
    )
    events: list[Event] = []
    write(tmp_path / "a", source, processes=2, listen=events.append)
    [warning] = [event for event in events if isinstance(event, Note)]
    assert warning.warning
    assert "no worker processes" in warning.text
    save(tmp_path / "b", source)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("wrong", [(4, 3), (1, 4, 4)])
def test_images_of_another_shape_are_never_written(wrong: tuple[int, ...], tmp_path: Path) -> None:
    class Wrong:
        def read(self, rows: np.ndarray) -> np.ndarray:
            return np.zeros((len(rows), *wrong), np.uint8)

    source = Source("made", "made up", "own", ("0", "1"), (1, 3, 4), {"train": Part(np.arange(20) % 2, Wrong())})
    with pytest.raises(ValueError, match=r"images of \(1, 3, 4\)"):
        write(tmp_path / "toy", source)
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=3), st.sampled_from([1, 3000, 20 << 20]), st.data())
def test_every_row_is_in_exactly_one_chunk(counts: list[int], size: int, data: st.DataObject) -> None:
    parts = dict(zip(SPLITS, counts, strict=False))
    total = sum(counts)
    wanted = np.array(data.draw(st.permutations(range(total))), dtype=np.int64)[: data.draw(st.integers(0, total))]
    chunks = plan_chunks(parts, wanted, wanted * 10 + 3, size)
    starts = {part: sum(counts[:i]) for i, part in enumerate(parts)}
    for chunk in chunks:
        assert 1 <= len(chunk) <= decode.CHUNK_IMAGES
        assert len(chunk) == 1 or len(chunk) * size <= decode.CHUNK_BYTES
        assert (np.diff(chunk.rows) > 0).all()
        assert chunk.rows[-1] < parts[chunk.part]
        assert chunk.offsets.tolist() == [(starts[chunk.part] + row) * 10 + 3 for row in chunk.rows.tolist()]
    assert sorted(row + starts[chunk.part] for chunk in chunks for row in chunk.rows.tolist()) == sorted(
        wanted.tolist()
    )


def test_no_more_processes_than_chunks_are_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def run(worker: object, job: object, chunks: list, processes: int, *rest: object, **more: object) -> None:
        asked.append(processes)
        raise workers.NoPool("not here")

    monkeypatch.setattr(decode, "run_in_processes", run)
    monkeypatch.setattr(decode, "cores", lambda: 64)
    write(
        tmp_path / "toy",
        made_source(SIZES),
        split_rows(
            {n: p.labels for n, p in made_source(SIZES).parts.items()}, train="all", validation=5, test="all", seed=0
        ),
    )
    assert asked == [5]  # no more than there are chunks: 3 of train, 1 of validation, 1 of test


PREPARING = """
import sys, time
from pathlib import Path
import numpy as np
from tests.ingest.fake_source import made_source
from ssmlab.ingest.workdir import workdir_beside
from ssmlab.ingest.splits import split_rows
from ssmlab.ingest.writer import write_dataset
from ssmlab.core.events import Progress

def listen(event):
    if isinstance(event, Progress) and event.done:
        print("begun", flush=True)

if __name__ == "__main__":
    path = Path(sys.argv[1])
    source = made_source({"train": 200_000}, (3, 32, 32))
    rows = split_rows({"train": source.parts["train"].labels}, train="all", validation=3, test=4, seed=0)
    try:
        with workdir_beside(path) as workdir:
            write_dataset(path, source, rows, 0, workdir, processes=2, listen=listen)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see which processes are alive")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_in_the_middle_leaves_the_old_data(number: signal.Signals, code: int, tmp_path: Path) -> None:
    path = tmp_path / "data" / "toy"
    write(path, made_source({"train": 50}))
    before = path.read_bytes()
    script = tmp_path / "preparing.py"
    script.write_text(PREPARING)
    here = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, script, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=here,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: to parent and workers
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)  # ends only when every holder of stderr has: no worker is left
    assert process.returncode == code
    assert "Traceback" not in errors
    assert path.read_bytes() == before
    left = [other for other in path.parent.iterdir() if other != path]
    assert len(left) == (number == signal.SIGKILL)
    write(path, made_source({"train": 60}))
    save(tmp_path / "b", made_source({"train": 60}))
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == (tmp_path / "b").read_bytes()
