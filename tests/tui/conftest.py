"""A study of synthetic files, and functions that read the screens; no training, no DVC."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import pytest_textual_snapshot
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static

from ssmlab.artifacts.heartbeat import Heartbeat
from ssmlab.artifacts.history import Row, append_row
from ssmlab.core.json_text import canonical_json
from ssmlab.evaluation.protocol import Protocol
from ssmlab.evaluation.results import AttackResults, CheckpointResults, Measure, save_results, worst_case
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.launched import active, stop_launch
from ssmlab.project.params_file import load_params
from tests.artifacts.living_heartbeat import living_heartbeat

# The plugin names its files by an attribute that syrupy does not read any more.
pytest_textual_snapshot.SVGImageExtension.file_extension = "svg"

BEAT = living_heartbeat(task="epoch 2/2", epoch=2, epochs=2, images_per_second=1234.0, eta_seconds=75.0)


class Study:
    """The smoke study in a folder, and the means to change its files as stages would."""

    def __init__(self, root: Path, source: Path) -> None:
        self.root = root
        self.paths = Paths("smoke", root)
        (root / "params.yaml").write_text((source / "studies" / "smoke.yaml").read_text())
        (root / "dvc.yaml").write_text((source / "dvc.yaml").read_text())

    def add_rows(self, folder: Path, *accuracies: tuple[float, float]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        history = folder / "history.csv"
        for epoch, (clean, robust) in enumerate(accuracies, start=1):
            append_row(history, Row(epoch, epoch, 1e-3, 2.0 / epoch, 0.1, clean, robust, 1.0, 800.0, 2.5 / epoch))

    def beat(self, heartbeat: Heartbeat = BEAT, **changes: object) -> None:
        text = canonical_json(asdict(replace(heartbeat, time=time.time(), **changes)))  # type: ignore[arg-type]
        (self.paths.live(heartbeat.run) / "progress.json").write_text(text)

    def attack(self, run: str, seed: int = 0, warnings: tuple[str, ...] = ()) -> None:
        params = load_params(self.root / "params.yaml")
        path = self.paths.attack(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_results(path, attack_results(params, run, seed, warnings))


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are looked at often, so that tests need not wait."""
    monkeypatch.setattr("ssmlab.tui.app.POLL", 0.1)


@pytest.fixture
def study(tmp_path: Path, project: Path) -> Iterator[Study]:
    """The smoke study: `ssm` finished, `ads` in training, `attention` not begun."""
    study = Study(tmp_path, project)
    study.add_rows(study.paths.model("ssm"), (0.5, 0.25), (0.625, 0.125))
    study.attack("ssm")
    study.add_rows(study.paths.live("ads"), (0.75, 0.5))
    study.beat()
    (study.paths.live("ads") / "log.txt").write_text("epoch 1/2 of ads is done\n")
    yield study
    left = active(study.paths)
    if left is not None:
        stop_launch(left, patience=0.1)


def attack_results(params: Params, run: str, seed: int, warnings: tuple[str, ...] = ()) -> AttackResults:
    protocol = Protocol.model_validate(
        {
            "data": {
                "name": "mnist5k",
                "fingerprint": "a",
                "split": "test",
                "n": 8,
                "indices_hash": "b",
                "train": 9,
                "validation": 2,
            },
            "norm": "linf",
            "eps": {"text": "0.1", "value": 0.1},
            "batch_size": params.attack.batch_size,
            "seed": seed,
            "attacks": {name: spec.plain() for name, spec in params.attack.attacks.items()},
            "torchattacks": "3.5.1",
            "device": "cpu",
        }
    )
    measures = {"clean": Measure.of("11111100"), "fgsm": Measure.of("10101000")}
    best = CheckpointResults(
        measures=measures,
        worst_case=worst_case(measures),
        warnings=warnings,
        sha256="c" * 64,
        epoch=2,
        val_clean=0.5,
        val_robust=0.25,
        selection_split="validation",
    )
    return AttackResults(
        format=2,
        study=params.study,
        run=run,
        parameters=1000,
        model=params.runs[run].model.plain(),
        train=params.runs[run].train.plain(),
        code_version="0",
        protocol=protocol,
        protocol_fingerprint=protocol.fingerprint(),
        checkpoints={"best": best},
    )


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    """Wait until the condition is true; fail after a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, screen_text(pilot.app)
        await pilot.pause(0.02)


def screen_text(app: App[None]) -> str:
    """The text on the terminal."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def line_of(app: App[None], run: str) -> list[str]:
    """The words of the table's line for a run."""
    found = (words for text in screen_text(app).splitlines() if run in (words := text.split())[:4])
    return next(found, [])


def notice_of(app: App[None]) -> str:
    return str(app.screen.query_one("#notice", Static).content)
