"""Twenty thousand JPEGs: two workers against one process, how much memory that takes, and kills at any time."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssmlab.data.dataset import load_dataset
from tests.ingest.fake_source import jpegs_in, prepare_jpegs

pytestmark = pytest.mark.slow
N, SIDE = 20_000, 64

PREPARING = """
import sys
from pathlib import Path
from tests.ingest.fake_source import prepare_jpegs

if __name__ == "__main__":
    prepare_jpegs(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), seed=int(sys.argv[4]), processes=2)
"""


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with smooth pictures, each of its own, as JPEG files one after the other."""
    folder = tmp_path_factory.mktemp("jpegs")
    generator = np.random.default_rng(0)
    bounds = [0]
    with (folder / "jpegs").open("wb") as file:
        for _ in range(N):
            small = Image.fromarray(generator.integers(256, size=(8, 8, 3), dtype=np.uint8))
            content = io.BytesIO()
            small.resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(content, "JPEG")
            file.write(content.getvalue())
            bounds.append(file.tell())
    np.save(folder / "bounds.npy", bounds)
    return folder


def start(jpegs: Path, path: Path, n: int, seed: int) -> subprocess.Popen[str]:
    script = path.parent.parent / "preparing.py"
    script.write_text(PREPARING)
    here = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    return subprocess.Popen(
        [sys.executable, script, jpegs, path, str(n), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=here,
    )


def memory(session: int) -> int:
    """The proportional set sizes of a session's processes together, in bytes."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(folder.name)) == session:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
        except OSError:
            continue
    return total


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc to see how much memory is used")
def test_two_workers_give_the_same_and_need_less_memory_than_it_has(jpegs: Path, tmp_path: Path) -> None:
    path = tmp_path / "data" / "two"
    path.parent.mkdir()
    process, peak = start(jpegs, path, N, seed=0), 0
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.05)
    process.communicate()
    assert process.returncode == 0
    prepare_jpegs(jpegs, tmp_path / "one", N, seed=0, processes=1)
    assert path.read_bytes() == (tmp_path / "one").read_bytes()
    assert list(path.parent.iterdir()) == [path]
    assert 0 < peak < 0.9 * path.stat().st_size

    dataset = load_dataset(path)
    images = jpegs_in(jpegs)
    for place in (0, 7, 499):
        row = dataset.validation.indices[[place]].numpy()
        np.testing.assert_array_equal(dataset.validation.images[[place]].numpy(), images.read(row))
        assert dataset.validation.labels[place] == row[0] % 10


def test_a_kill_at_any_time_leaves_the_old_or_the_new_data_set(jpegs: Path, tmp_path: Path) -> None:
    """The complete old or new data set is there, and the next prepare removes everything else."""
    path = tmp_path / "data" / "toy"
    path.parent.mkdir()
    whole: list[bytes] = []
    for seed in (0, 1):
        began = time.monotonic()
        start(jpegs, path, 5000, seed).communicate()
        seconds = time.monotonic() - began
        whole.append(path.read_bytes())
    now, killed = 1, 0
    draws = random.Random(0)
    for _ in range(8):
        process = start(jpegs, path, 5000, 1 - now)
        try:
            process.wait(timeout=draws.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate(timeout=60)  # ends only when every worker has
        found = path.read_bytes()
        assert found in whole
        now = whole.index(found)
    assert killed > 0
    prepare_jpegs(jpegs, path, 5000, seed=0, processes=1)
    assert path.read_bytes() == whole[0]
    assert list(path.parent.iterdir()) == [path]
