"""A mixer, a regime and an attack are added by one new file and one new line each; all commands then know them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.tiny_project import PARAMS, make_tiny_project

GRU = '''"""A gated recurrent unit."""

from __future__ import annotations

from torch import nn

from ssmlab.nets.classifier import Residual
from ssmlab.nets.layer_parts import norm
from ssmlab.nets.mixer import Mixer
from ssmlab.nets.shapes import BatchFirst
from ssmlab.params import ModelParams


def gru_layer(params: ModelParams, length: int) -> Mixer:  # noqa: ARG001
    return Residual(Gru(params.d_model), norm(params))


class Gru(Mixer):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.recurrence = nn.GRU(width, width, batch_first=True)

    def freeze(self, length: int) -> nn.Module:  # noqa: ARG002  # a GRU holds its parameters in a list of its own
        return self

    def forward(self, u: BatchFirst) -> BatchFirst:
        return self.recurrence(u)[0]  # type: ignore[no-any-return]
'''

MIX = '''"""FGSM images and clean images in equal parts."""

from __future__ import annotations

from torch import Tensor

from ssmlab.training.adversary import pgd_steps
from ssmlab.training.attack import Attack
from ssmlab.training.events import BatchResult, count_right
from ssmlab.training.regimes.base import Regime


class FgsmCleanMix(Regime):
    def step(self, x: Tensor, y: Tensor, attack: Attack) -> BatchResult:
        clean, attacked = self.model(x), self.model(pgd_steps(self.target(), x, y, attack, self.learner.generator))
        loss = (self.cross_entropy(clean, y) + self.cross_entropy(attacked, y)) / 2
        self.learner.descend(loss)
        return BatchResult(loss.item(), len(y), count_right(clean, y), count_right(attacked, y))
'''

NOISE = '''"""A random point of the ball."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.kinds.base import AttackKind
from ssmlab.evaluation.victim import Victim
from ssmlab.params import AttackBase


class RandomNoiseKind(AttackKind[AttackBase]):
    def parts(self, victim: Victim, ball: Ball, classes: int, seed: int) -> dict[str, Any]:  # noqa: ARG002
        return {"random-noise": partial(noise, ball, seed)}


def noise(ball: Ball, seed: int, x: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
    return ball.start(x, seed, "noise")
'''


class Addition(NamedTuple):
    """One new file, and one new line before the line of the registry that begins with `before`."""

    file: str
    text: str
    registry: str
    before: str
    line: str


ADDITIONS = (
    Addition(
        "nets/gru.py",
        GRU,
        "params/model.py",
        '    "mega": MixerEntry(',
        '    "gru": MixerEntry("GRU", "gru:gru_layer"),',
    ),
    Addition(
        "training/regimes/fgsm_clean_mix.py",
        MIX,
        "params/train.py",
        '    "yopo": RegimeEntry(',
        '    "fgsm-clean-mix": RegimeEntry("FGSM and clean", "fgsm_clean_mix:FgsmCleanMix", single_step=True),',
    ),
    Addition(
        "evaluation/kinds/random_noise.py",
        NOISE,
        "params/attack_kinds.py",
        '    "fgsm": AttackEntry(',
        '    "random-noise": AttackEntry("random_noise:RandomNoiseKind"),',
    ),
)

STUDY = PARAMS.replace("mixer: s4", "mixer: gru").replace("regime: pgd_at", "regime: fgsm-clean-mix").replace(
    "epochs: 2", "epochs: 1"
).replace("    fgsm: {", "    noise: {kind: random-noise, images: 10, checkpoints: [best, last]}\n    fgsm: {") % {
    "seed": 0
}


def tree(folder: Path) -> dict[str, list[str]]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8").splitlines()
        for path in sorted(folder.rglob("*.py"))
    }


def in_folder(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment: Mapping[str, str] = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)


def ssmlab(folder: Path, *arguments: str) -> str:
    done = in_folder(folder, "-m", "ssmlab", *arguments)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory, copy_project: Callable[[Path], None]) -> Path:
    """A copy of the project with all three additions, and a study that uses them."""
    folder = tmp_path_factory.mktemp("extended")
    copy_project(folder)
    for each in ADDITIONS:
        (folder / "ssmlab" / each.file).write_text(each.text, encoding="utf-8")
        registry = folder / "ssmlab" / each.registry
        before = registry.read_text(encoding="utf-8")
        assert before.count(each.before) == 1
        registry.write_text(before.replace(each.before, f"{each.line}\n{each.before}"), encoding="utf-8")
    make_tiny_project(folder)
    (folder / "params.yaml").write_text(STUDY, encoding="utf-8")
    return folder


def test_each_addition_is_one_file_and_one_line_of_one_registry(extended: Path, project: Path) -> None:
    before, after = tree(project / "ssmlab"), tree(extended / "ssmlab")
    assert after.keys() - before.keys() == {each.file for each in ADDITIONS}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {each.registry for each in ADDITIONS}
    for each in ADDITIONS:
        assert [line for line in after[each.registry] if line != each.line] == before[each.registry]


def test_the_additions_are_trained_attacked_probed_and_reported(extended: Path) -> None:
    for command in (["prepare"], ["train", "ssm"], ["attack", "ssm"], ["probe", "ssm"], ["analyze"], ["report"]):
        ssmlab(extended, *command)
    result = json.loads((extended / "results/tiny/attack/ssm.json").read_text())
    assert result["model"]["mixer"] == "gru" and result["train"]["regime"] == "fgsm-clean-mix"
    assert {len(each["measures"]["noise"]["flags"]) for each in result["checkpoints"].values()} == {10}
    report = (extended / "results/tiny/report.md").read_text()
    assert "GRU" in report and "FGSM and clean" in report and "noise: random-noise" in report
    best = "models/tiny/ssm/best.safetensors"
    named = ssmlab(
        extended, "attack", best, "--attacks", "random-noise", "--eps", "0.1", "--data", "data/tiny.safetensors"
    )
    assert "random-noise" in named


def test_errors_and_the_schema_know_the_new_names(extended: Path) -> None:
    schema = json.loads(ssmlab(extended, "schema"))["$defs"]
    assert "gru" in schema["ModelParams"]["properties"]["mixer"]["enum"]
    assert "fgsm-clean-mix" in schema["TrainParams"]["properties"]["regime"]["enum"]
    assert "random-noise" in json.dumps(schema["AttackParams"]["properties"]["attacks"])
    for right, wrong, key in (
        ("mixer: gru", "mixer: gnu", "model.mixer"),
        ("regime: fgsm-clean-mix", "regime: mix", "train.regime"),
        ("kind: random-noise", "kind: nose", "attack.attacks.noise.kind"),
        ("steps: 1, random_start: true}\n  warmup", "steps: 2, random_start: true}\n  warmup", "adversary.steps"),
    ):
        (extended / "params.yaml").write_text(STUDY.replace(right, wrong), encoding="utf-8")
        done = in_folder(extended, "-m", "ssmlab", "runs")
        (extended / "params.yaml").write_text(STUDY, encoding="utf-8")
        assert done.returncode != 0 and done.stderr.count("\n") == 1
        name = right.partition(": ")[2] if right.count(":") == 1 else "fgsm-clean-mix"
        assert key in done.stderr and name in done.stderr


def test_reading_settings_with_the_additions_loads_no_torch(extended: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom ssmlab.project.params_file import load_params\n"
        "load_params(Path('params.yaml'))\nassert 'torch' not in sys.modules"
    )
    done = in_folder(extended, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "attack" in ssmlab(extended, "--help")
