"""A killed evaluation continues where it was, and gives the same results as without the interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Progress
from ssmlab.evaluation.evaluate import evaluate_models
from ssmlab.evaluation.journal import OutcomeJournal
from ssmlab.evaluation.results import Evaluation
from ssmlab.evaluation.tasks import AttackOutcome, AttackRunner, AttackTask
from ssmlab.params import AttackSpec, FmnParams, PgdParams, ScreenedAutoAttackParams, TokenParams
from ssmlab.params.written_float import WrittenFloat

EVERYTHING: dict[str, Any] = {"images": "all", "checkpoints": ("best",)}
ATTACKS: dict[str, AttackSpec] = {
    "pgd": PgdParams(kind="pgd", alpha=WrittenFloat(0.01), steps=3, random_start=True, **EVERYTHING),
    "fmn": FmnParams(kind="fmn", steps=3, **EVERYTHING),
    "screened": ScreenedAutoAttackParams(kind="screened-autoattack", steps=2, queries=10, survivors=4, **EVERYTHING),
    "token": TokenParams(kind="token", patch=3, positions="all", steps=2, **EVERYTHING),
}


def net() -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.GELU(), nn.Linear(8, 5))
    for parameter in model.parameters():
        parameter.data = 0.7 * torch.randn(parameter.shape, generator=generator)
    return model


def found(journal: OutcomeJournal | None = None, on_event: Any = lambda event: None) -> Evaluation:
    model = net()
    x = torch.rand(13, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    y: Tensor = model(x).argmax(dim=1)
    return evaluate_models(
        {"m": model},
        x,
        y,
        {"m": ATTACKS},
        WrittenFloat(0.02),
        batch_size=5,
        seed=0,
        device=torch.device("cpu"),
        workers=1,
        on_event=on_event,
        journal=journal,
    )["m"]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[AttackTask]:
    """The tasks that are carried out, in order."""
    done: list[AttackTask] = []
    run = AttackRunner.run

    def counted(self: AttackRunner, task: AttackTask) -> AttackOutcome:
        done.append(task)
        return run(self, task)

    monkeypatch.setattr(AttackRunner, "run", counted)
    return done


@pytest.mark.parametrize("after", [0, 1, 5, 9])
def test_a_killed_evaluation_continues_with_the_same_results(
    tmp_path: Path, runs: list[AttackTask], after: int
) -> None:
    expected = found()
    everything = len(runs)
    assert everything > 10
    runs.clear()

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and len(runs) > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found(OutcomeJournal(tmp_path / "journal", "this"), kill)
    done = len(runs)
    assert done == after + 1
    assert found(OutcomeJournal(tmp_path / "journal", "this")) == expected
    assert len(runs) == everything


def test_a_journal_that_is_cut_or_damaged_anywhere_gives_the_same(tmp_path: Path, runs: list[AttackTask]) -> None:
    path, expected = tmp_path / "journal", found(OutcomeJournal(tmp_path / "journal", "this"))
    content = path.read_bytes()
    everything = len(runs)
    for place in range(3, len(content) - 1, len(content) // 6):  # without the last newline nothing is lost
        flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        for damaged in (content[:place], flipped):
            path.write_bytes(damaged)
            runs.clear()
            assert found(OutcomeJournal(path, "this")) == expected
            assert 0 < len(runs) <= everything


def test_a_complete_journal_leaves_nothing_to_do_and_is_removed(tmp_path: Path, runs: list[AttackTask]) -> None:
    path = tmp_path / "journal"
    expected = found(OutcomeJournal(path, "this"))
    runs.clear()
    journal = OutcomeJournal(path, "this")
    assert found(journal) == expected
    assert runs == []
    journal.remove()
    assert not path.exists()


def test_the_journal_of_another_evaluation_is_not_used(tmp_path: Path, runs: list[AttackTask]) -> None:
    found(OutcomeJournal(tmp_path / "journal", "this"))
    everything = len(runs)
    runs.clear()
    found(OutcomeJournal(tmp_path / "journal", "other"))
    assert len(runs) == everything


def test_a_journal_that_cannot_be_written_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        OutcomeJournal(tmp_path / "file" / "journal", "this")
