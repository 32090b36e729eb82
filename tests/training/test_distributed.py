"""Several processes train like one: every regime, a short last batch, dropout, resuming."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.core.errors import UserError
from ssmlab.training.distributed import Group, LostRank, detecting_lost_ranks, gpu_of_rank, process_group
from ssmlab.training.sharding import BatchShard, SharedGenerator, draw_normal, draw_uniform
from ssmlab.training.state import TrainingState
from tests.training import processes
from tests.training.processes import CASES, epochs_of

# Sums are taken in another order; every one of these trainings moves weights by 1e-2.
TOLERANCE = {"rtol": 1e-8, "atol": 1e-9}
pytestmark = pytest.mark.xdist_group("distributed")


def together(folder: Path, size: int) -> list[dict[str, Any]]:
    """The results of each of `size` processes."""
    torch.save(epochs_of(CASES["pgd_at with awp and averaging"])[0].state, folder / "alone.pt")
    command = [sys.executable, processes.__file__]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    started = [subprocess.Popen([*command, str(rank), str(size), str(folder)], env=environment) for rank in range(size)]
    assert [process.wait(timeout=300) for process in started] == [0] * size
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(size)]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return together(tmp_path_factory.mktemp("two"), 2)


def agree(state: TrainingState, expected: TrainingState) -> None:
    assert state.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        if name == "generator.dropout":
            continue
        if name.startswith("generator."):
            assert torch.equal(state.tensors[name], tensor), name
        else:
            torch.testing.assert_close(state.tensors[name], tensor, **TOLERANCE)
    for row, other in zip(state.rows, expected.rows, strict=True):
        assert row.train_loss == pytest.approx(other.train_loss, rel=1e-9)
        assert row.val_robust_loss == pytest.approx(other.val_robust_loss, rel=1e-9)
        same = {"train_loss": 0, "val_robust_loss": 0, "seconds": 0, "images_per_second": 0}
        assert row._replace(**same) == other._replace(**same)


@pytest.mark.parametrize("name", CASES)
def test_two_processes_give_the_result_of_one(two: list[dict[str, Any]], name: str) -> None:
    expected = epochs_of(CASES[name])[-1].state
    agree(two[0][name], expected)


@pytest.mark.slow
def test_three_processes_give_the_result_of_one(tmp_path: Path) -> None:
    """Shards of 6, 6 and 4 images; in the last batch only the first rank has images."""
    found = together(tmp_path, 3)
    for name in CASES:
        agree(found[0][name], epochs_of(CASES[name])[-1].state)


@pytest.mark.parametrize("name", [*CASES, "dropout"])
def test_every_process_holds_the_same_weights(two: list[dict[str, Any]], name: str) -> None:
    one, other = (each[name].tensors for each in two)
    for key in one:
        if key != "generator.dropout":
            assert torch.equal(one[key], other[key]), key


def test_every_process_draws_its_own_dropout_and_still_resumes_to_the_same_bits(two: list[dict[str, Any]]) -> None:
    one, other = (each["dropout"].tensors["generator.dropout"] for each in two)
    assert not torch.equal(one, other)
    for each in two:
        whole, gone_on = each["dropout"].tensors, each["dropout, gone on"].tensors
        assert all(torch.equal(whole[key], gone_on[key]) for key in whole)


def test_two_processes_continue_from_the_state_of_one(two: list[dict[str, Any]]) -> None:
    agree(two[0]["alone, gone on"], epochs_of(CASES["pgd_at with awp and averaging"])[-1].state)


def test_collective_calls_return_the_same_on_every_rank(two: list[dict[str, Any]]) -> None:
    for each in two:
        assert (each["sum"], each["any"], each["first"], each["all"]) == ((3.0, 20.0), [False, True], "of 0", [0, 1])
    alone = Group()
    assert (alone.sum(2.0, 1.0), alone.any(True)) == ((2.0, 1.0), True)
    assert (alone.broadcast("x"), alone.all_gather(7)) == ("x", [7])


def test_every_process_gets_its_own_gpu_or_an_error_names_the_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert gpu_of_rank(1, 2) == torch.device("cuda", 1)
    with pytest.raises(UserError, match="3 processes, but 2 GPU"):
        gpu_of_rank(0, 3)


@pytest.mark.parametrize("environment", [{}, {"WORLD_SIZE": "1", "RANK": "0"}, {"WORLD_SIZE": "8"}])
def test_without_torchrun_a_process_is_alone(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with process_group("cpu") as (group, device):
        assert (group, device) == (Group(), torch.device("cpu"))
        assert not torch.distributed.is_initialized()


def test_only_errors_of_the_exchange_mean_a_lost_rank() -> None:
    with pytest.raises(LostRank), detecting_lost_ranks():
        raise RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Connection closed by peer")
    with pytest.raises(LostRank), detecting_lost_ranks():
        raise torch.distributed.DistBackendError("NCCL communicator was aborted")
    with pytest.raises(RuntimeError, match="shapes"), detecting_lost_ranks():
        raise RuntimeError("shapes do not match")


@settings(deadline=None, max_examples=25)
@given(batch_size=st.integers(1, 40), processes=st.integers(1, 7), data=st.data())
def test_the_shards_of_all_ranks_make_up_the_batch(batch_size: int, processes: int, data: st.DataObject) -> None:
    batch = data.draw(st.integers(1, batch_size))
    shards = [BatchShard(batch_size, rank, processes) for rank in range(processes)]
    for shard in shards:
        shard.set_batch(batch)
        assert len(range(batch)[shard.rows]) >= 1  # every process has images for the model
    rows = [row for shard in shards if shard.images for row in range(batch)[shard.rows]]
    assert rows == list(range(batch))
    assert [shard.images for shard in shards] == [len(range(batch)[s.rows]) if s.images else 0 for s in shards]
    assert math.isclose(sum(shard.weight for shard in shards), 1.0)


@settings(deadline=None, max_examples=25)
@given(batch=st.integers(1, 20), processes=st.integers(1, 5), seed=st.integers(0, 99))
def test_every_rank_draws_the_numbers_that_one_process_would_draw_for_its_images(
    batch: int, processes: int, seed: int
) -> None:
    plain = torch.Generator().manual_seed(seed)
    expected = [
        draw_normal((batch, 3, 2), plain),
        draw_uniform((batch, 1), -2.0, 5.0, plain),
        draw_normal((batch,), plain),
    ]
    for rank in range(processes):
        shared = SharedGenerator()
        shared.shard = BatchShard(20, rank, processes)
        shared.shard.set_batch(batch)
        shared.manual_seed(seed)
        rows = shared.shard.rows
        own = len(range(batch)[rows])
        drawn = [
            draw_normal((own, 3, 2), shared),
            draw_uniform((own, 1), -2.0, 5.0, shared),
            draw_normal((own,), shared),
        ]
        assert all(torch.equal(one, whole[rows]) for one, whole in zip(drawn, expected, strict=True))
        assert torch.equal(shared.get_state(), plain.get_state())
