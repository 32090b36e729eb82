"""`ssmlab parity` over cases made here: what agrees, what does not, and what is no case."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from ssmlab.cli.app import app
from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Progress
from ssmlab.published.parity import Agreement, parity, relative


@pytest.fixture
def folder(shared: Path, tmp_path: Path) -> Path:
    for case in ("dss_1ch", "mega_1ch"):
        (tmp_path / f"{case}.safetensors").write_bytes((shared / "parity" / f"{case}.safetensors").read_bytes())
    return tmp_path


def change(folder: Path, case: str, name: str, factor: float) -> None:
    path = folder / f"{case}.safetensors"
    tensors = load_file(path)
    save_file(tensors | {name: tensors[name] * factor}, path)


def test_every_parity_case_is_measured_with_progress(folder: Path) -> None:
    events: list[Event] = []
    found = parity(folder, events.append)
    assert [each.case for each in found] == ["dss_1ch", "mega_1ch"]
    assert all(each.ok for each in found)
    assert [each.kernel is None for each in found] == [False, True]
    assert [event.done for event in events if isinstance(event, Progress)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "factor", "field"),
    [("logits", 1.001, "logits"), ("grad_x", 1.002, "gradient"), ("kernel.1", 0.999, "kernel")],
)
def test_a_difference_is_measured_and_fails_the_command(folder: Path, name: str, factor: float, field: str) -> None:
    change(folder, "dss_1ch", name, factor)
    (apart, fine) = parity(folder)
    assert getattr(apart, field) == pytest.approx(abs(1 / factor - 1), rel=0.05)
    assert not apart.ok and fine.ok
    result = CliRunner().invoke(app, ["parity", str(folder)])
    assert result.exit_code == 1
    assert "not ok" in result.output and "1 of 2 cases disagree" in result.stderr and "dss_1ch" in result.stderr


def test_the_command_prints_a_plain_table_when_piped(folder: Path) -> None:
    result = CliRunner().invoke(app, ["parity", str(folder)])
    assert result.exit_code == 0, result.output
    assert "mega_1ch" in result.output and "\x1b" not in result.output and "not ok" not in result.output


def test_no_number_is_no_agreement() -> None:
    assert Agreement("a", 1, 1e-5, None, 1e-4).ok
    assert not Agreement("a", 1, float("nan"), None, 1e-4).ok
    assert not Agreement("a", 1, 1e-5, float("nan"), 1e-4).ok
    assert not Agreement("a", 1, 1e-5, None, float("inf")).ok


@pytest.mark.parametrize(("logits", "kernel", "gradient"), [(2e-4, 0.0, 0.0), (0.0, 2e-4, 0.0), (0.0, 0.0, 2e-3)])
def test_an_error_of_twice_its_limit_is_no_agreement(logits: float, kernel: float, gradient: float) -> None:
    assert not Agreement("a", 1, logits, kernel, gradient).ok
    assert Agreement("a", 1, logits / 4, kernel / 4, gradient / 4).ok


def test_an_output_that_is_not_a_number_is_infinitely_far_away() -> None:
    """A NaN would be lost in a maximum."""
    assert relative(torch.tensor([1.0, math.nan]), torch.ones(2)) == math.inf
    assert relative(torch.tensor([1.0, 1.5]), torch.ones(2)) == pytest.approx(0.5 / math.sqrt(2))


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "absent", "no such folder"), (tmp_path, "no .safetensors")):
        with pytest.raises(UserError, match=says):
            parity(path)
    save_file({"x": torch.zeros(1, 1, 2, 2)}, tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match=r"odd.safetensors: not a parity case"):
        parity(tmp_path)
    result = CliRunner().invoke(app, ["parity", str(tmp_path / "absent")])
    assert result.exit_code == 1 and len(result.stderr.strip().splitlines()) == 1
