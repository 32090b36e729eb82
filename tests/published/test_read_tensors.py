"""Files from other people: data is read, code is refused and never run, and time and memory have limits."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from ssmlab.core.errors import UserError
from ssmlab.published.read_tensors import LARGEST, read_state_dict

MIB = 1 << 20


class Payload:
    """Unpickling it creates a file, as an example of code that an attacker would run."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


class Shell(Payload):
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, (f"touch {self.trace}",)


def refused(path: Path, says: str, **limits: Any) -> None:
    with pytest.raises(UserError, match=says) as caught:
        read_state_dict(path, **limits)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_pickle_gives_the_tensors_that_were_saved(tmp_path: Path) -> None:
    shared = torch.randn(4, 3)
    state = OrderedDict(
        plain=torch.arange(6.0).reshape(2, 3),
        view=shared.t()[1:],
        same=shared,
        complex=torch.randn(2, 2, dtype=torch.complex64),
        whole=torch.tensor(7),
        half=torch.ones(3, dtype=torch.bfloat16),
        parameter=torch.nn.Parameter(torch.randn(2)),
    )
    torch.save(state, tmp_path / "state.pt")
    torch.save({"epoch": 3, "net": {"module": state}}, tmp_path / "nested.pth")
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name, prefix in (("state.pt", ""), ("nested.pth", "net.module."), ("old.pt", "")):
        found = read_state_dict(tmp_path / name)
        assert found.keys() == {prefix + key for key in state}
        for key, tensor in state.items():
            assert found[prefix + key].dtype == tensor.dtype
            assert torch.equal(found[prefix + key], tensor), key


def test_a_safetensors_file_is_read_as_it_is(tmp_path: Path) -> None:
    state = {"a": torch.randn(2, 3), "b": torch.tensor([1, 2])}
    save_file(state, tmp_path / "state.safetensors")
    found = read_state_dict(tmp_path / "state.safetensors")
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize(("payload", "kind"), [(Payload, "zip"), (Shell, "zip"), (Payload, "old"), (Shell, "raw")])
def test_code_is_refused_and_not_run(tmp_path: Path, payload: type[Payload], kind: str) -> None:
    trace, path = tmp_path / "trace", tmp_path / "model.pt"
    content = {"input.weight": torch.zeros(2, 1), "extra": payload(trace)}
    if kind == "raw":
        path.write_bytes(pickle.dumps(payload(trace)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    refused(path, "refused" if kind == "raw" else "refused: it would run")
    assert not trace.exists()
    torch.load(path, weights_only=False) if kind != "raw" else pickle.loads(path.read_bytes())
    assert trace.exists(), "the payload of this test does nothing, so the test shows nothing"


def test_tensors_larger_than_their_file_are_refused(tmp_path: Path) -> None:
    torch.save({"wide": torch.zeros(1).expand(1 << 30)}, tmp_path / "view.pt")
    assert (tmp_path / "view.pt").stat().st_size < 10_000
    refused(tmp_path / "view.pt", "memory", memory=256 * MIB)


def test_a_compressed_bomb_is_refused(tmp_path: Path) -> None:
    torch.save({"wide": torch.zeros(100 * MIB, dtype=torch.uint8)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as bomb:
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pt").stat().st_size < MIB
    refused(tmp_path / "bomb.pt", "refused", memory=64 * MIB)


def test_a_wrong_declared_size_is_refused(tmp_path: Path) -> None:
    """The pickle says a billion numbers, the storage has four."""
    torch.save({"wide": torch.zeros(4)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "liar.pt", "w") as liar:
        for name in plain.namelist():
            content = plain.read(name)
            if name.endswith("data.pkl"):
                assert content.count(b"K\x04") >= 1
                content = content.replace(b"K\x04", b"J\x00\x00\x00\x40")  # BININT1 4 becomes BININT 2^30
            liar.writestr(name, content)
    refused(tmp_path / "liar.pt", "refused", memory=256 * MIB)


def test_a_pickle_that_takes_too_long_is_refused(tmp_path: Path) -> None:
    """Thirty dicts, each twice in the next: a billion paths to one tensor."""
    content: dict[str, Any] = {"w": torch.zeros(1)}
    for _ in range(30):
        content = {"a": content, "b": content}
    torch.save(content, tmp_path / "laughs.pt")
    refused(tmp_path / "laughs.pt", "took more than 3 seconds", seconds=3.0)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 200, -20])
def test_truncated_files_are_refused_in_one_line(tmp_path: Path, suffix: str, keep: int) -> None:
    path = tmp_path / f"state{suffix}"
    state = {"w": torch.randn(30, 30)}
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, "refused|not a complete")


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"lr": {1: 0.1}}, torch.zeros(3)])
def test_a_pickle_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.pt")
    refused(tmp_path / "other.pt", "no state dict")


def test_a_dict_inside_itself_is_refused(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["again"] = content
    torch.save(content, tmp_path / "loop.pt")
    refused(tmp_path / "loop.pt", "refused")


def test_files_that_contain_no_tensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "text.pt").write_text("no pickle at all\n")
    (tmp_path / "notes.txt").write_text("")
    with (tmp_path / "large.pt").open("wb") as file:
        file.truncate(LARGEST + 1)  # sparse
    for name, says in (
        ("absent.pt", "No such file"),
        ("folder.pt", "is not a file"),
        ("text.pt", "refused"),
        ("notes.txt", "cannot be imported"),
        ("large.pt", "at most"),
    ):
        refused(tmp_path / name, says)
