"""Evaluation whole: against closed forms, on one process and on several, and what it leaves behind."""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Note, Progress
from ssmlab.evaluation.attack_names import parse_attack
from ssmlab.evaluation.evaluate import evaluate, evaluate_models, useful_workers
from ssmlab.evaluation.results import Evaluation
from ssmlab.params import AttackSpec, AutoAttackParams, FgsmParams, PgdParams
from ssmlab.params.written_float import WrittenFloat
from ssmlab.system import workers

EVERYTHING: dict[str, Any] = {"images": "all", "checkpoints": ("best",)}
CPU = torch.device("cpu")


def linear(weight: Tensor, bias: Tensor) -> nn.Sequential:
    """A linear classifier of images (1, S, S); weight (classes, S * S), bias (classes,)."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight, bias
    return nn.Sequential(nn.Flatten(), layer)


def images(n: int, side: int, generator: torch.Generator) -> Tensor:
    """Images in the middle of the box, which an attack of eps 0.3 cannot leave."""
    return 0.4 + 0.2 * torch.rand(n, 1, side, side, generator=generator)


@torch.no_grad()
def radii(model: nn.Sequential, x: Tensor, y: Tensor) -> Tensor:
    """Distance of x to the nearest wrong class in L-inf: min_j (z_y - z_j) / ||w_y - w_j||_1; (N,) float64.

    Of a linear model, by Hoelder's inequality, where the box [0, 1] is far away.
    """
    weight, logits = model[1].weight.data.double(), model(x).double()
    margin = logits.gather(1, y[:, None]) - logits  # (N, classes)
    norm = (weight[y][:, None] - weight[None]).abs().sum(dim=2)  # (N, classes)
    return (margin / norm).nan_to_num(nan=float("inf")).min(dim=1).values


def gap_in(values: Tensor) -> float:
    """An eps in the middle half of `values`, as far as it can be from any of them."""
    values = values.sort().values
    middle = values[len(values) // 4 : 3 * len(values) // 4]
    widest = int(middle.diff().argmax())
    return float(middle[widest : widest + 2].mean())


def two_of_four(generator: torch.Generator) -> nn.Sequential:
    """A linear model of four classes, two of which are never near: then the sign of the gradient is optimal."""
    weight = torch.randn(4, 36, generator=generator)
    weight[2:] = 0.0
    return linear(weight, torch.tensor([0.0, 0.0, -60.0, -60.0]) - weight @ torch.full((36,), 0.5))


@pytest.mark.parametrize(
    "spec",
    [
        FgsmParams(kind="fgsm", **EVERYTHING),
        PgdParams(kind="pgd", alpha=WrittenFloat(0.02), steps=10, random_start=True, **EVERYTHING),
        AutoAttackParams(kind="autoattack", steps=10, queries=20, **EVERYTHING),
    ],
    ids=lambda spec: spec.kind,
)
def test_attacks_on_a_linear_model_reach_the_closed_form(spec: AttackSpec) -> None:
    generator = torch.Generator().manual_seed(1)
    model, x = two_of_four(generator), images(60, 6, generator)
    y = model(x).argmax(dim=1)
    y[:5] = 1 - y[:5]  # the model has these wrong when clean
    distance = radii(model, x, y)
    eps = gap_in(distance[5:])
    assert 0.005 < eps < 0.1
    found = evaluate(model, x, y, {"it": spec}, eps, batch_size=16)
    expected = "".join(str(int(right)) for right in distance > eps)
    assert found.measures["it"].flags == expected
    assert found.measures["clean"].flags == "0" * 5 + "1" * 55
    assert 5 < expected.count("0") < 60
    assert found.worst_case.flags == expected


def test_autoattack_reaches_the_closed_form_with_many_classes() -> None:
    generator = torch.Generator().manual_seed(2)
    model = linear(torch.randn(6, 36, generator=generator), torch.zeros(6))
    x = images(30, 6, generator)
    y = model(x).argmax(dim=1)
    distance = radii(model, x, y)
    eps = gap_in(distance)
    spec = AutoAttackParams(kind="autoattack", steps=20, queries=20, **EVERYTHING)
    found = evaluate(model, x, y, {"aa": spec}, eps).measures["aa"]
    assert found.flags == "".join(str(int(right)) for right in distance > eps)
    assert found.standard is False


def small_net(seed: int = 0) -> nn.Sequential:
    """A model that is not linear, of 8 x 8 images, and is not robust."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(144, 5))
    for parameter in model.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    return model


QUICK: Mapping[str, AttackSpec] = {
    "fgsm": FgsmParams(kind="fgsm", **EVERYTHING),
    "pgd": PgdParams(
        kind="pgd", alpha=WrittenFloat(0.01), steps=5, random_start=True, images=14, checkpoints=("best",)
    ),
    "aa": AutoAttackParams(kind="autoattack", steps=5, queries=30, images=10, checkpoints=("best",)),
}


def material(seed: int = 5) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A model, 20 images, and labels most of which it gives them."""
    model, generator = small_net(), torch.Generator().manual_seed(seed)
    x = torch.rand(20, 1, 8, 8, generator=generator)
    y = model(x).argmax(dim=1)
    y[::7] = (y[::7] + 1) % 5
    return model, x, y


def test_parts_and_measures_are_nested() -> None:
    model, x, y = material()
    found = evaluate(model, x, y, QUICK, 0.02, batch_size=4)
    assert list(found.measures) == ["clean", "fgsm", "pgd", "aa"]
    assert [measure.n for measure in found.measures.values()] == [20, 20, 14, 10]
    clean = found.measures["clean"]
    for measure in found.measures.values():
        assert all(flag <= before for flag, before in zip(measure.flags, clean.flags, strict=False))
    parts = found.measures["aa"].parts
    assert parts is not None
    left = [clean.flags[:10].count("1") / 10, *parts.values()]
    assert left == sorted(left, reverse=True)
    assert parts["square"] == found.measures["aa"].accuracy
    assert 0 < found.measures["fgsm"].correct < clean.correct
    worst = found.worst_case
    assert worst.over == ("clean", "fgsm", "pgd", "aa")
    assert worst.correct <= min(measure.flags[:10].count("1") for measure in found.measures.values())


def evaluate_two(workers: int | None, names: list[str], on_event: Any = lambda event: None) -> dict[str, Evaluation]:
    """Two models under `QUICK`, its attacks in the order of `names`."""
    model, x, y = material()
    attacks = {name: QUICK[name] for name in names}
    return evaluate_models(
        {"a": model, "b": small_net(1)},
        x,
        y,
        {"a": attacks, "b": {"fgsm": QUICK["fgsm"]}},
        WrittenFloat(0.02),
        batch_size=3,
        seed=11,
        device=CPU,
        workers=workers,
        on_event=on_event,
    )


def test_results_do_not_depend_on_workers_or_order() -> None:
    events: list[Event] = []
    alone = evaluate_two(1, ["fgsm", "pgd", "aa"])
    torch.rand(7)  # moves the global generator on
    together = evaluate_two(2, ["aa", "pgd", "fgsm"], events.append)
    assert {name: together[name].measures for name in "ab"} == {name: alone[name].measures for name in "ab"}
    assert not [event for event in events if isinstance(event, Note)]


def test_results_depend_on_the_seed() -> None:
    model, x, y = material()
    start_only = PgdParams(kind="pgd", alpha=WrittenFloat(0.0), steps=1, random_start=True, **EVERYTHING)
    flags = {evaluate(model, x, y, {"noise": start_only}, 0.2, seed=seed).measures["noise"].flags for seed in range(12)}
    assert len(flags) > 1


def test_nothing_is_left_behind() -> None:
    model, x, y = material()
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), model)
    model.train()
    model[1].eval()
    model[2][0].weight.requires_grad_(False)
    modes = [module.training for module in model.modules()]
    wants = [parameter.requires_grad for parameter in model.parameters()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator, threads, x_before = torch.get_rng_state(), torch.get_num_threads(), x.clone()
    evaluate(model, x, y, QUICK, 0.02)
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == wants
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(tensor.equal(state[name]) for name, tensor in model.state_dict().items())
    assert torch.get_rng_state().equal(generator)
    assert torch.get_num_threads() == threads
    assert x.equal(x_before)
    assert not x.requires_grad


def test_what_is_changed_is_repaired_after_an_error() -> None:
    model, x, y = material()
    model.train()
    with pytest.raises(UserError, match="y holds label 5, and the model has 5 classes"):
        evaluate(model, x, y + 1, QUICK, 0.02)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_that_can_be_frozen_is_attacked_frozen() -> None:
    model, x, y = material()
    calls: list[str] = []

    class Freezable(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append("live")
            return model(x)

        def freeze(self) -> nn.Module:
            calls.append("freeze")
            return model

    found, expected = evaluate(Freezable(), x, y, QUICK, 0.02), evaluate(model, x, y, QUICK, 0.02)
    assert found.measures == expected.measures
    assert calls.count("freeze") == 1
    assert calls.count("live") == 2 + len(x)  # the checks, which compare the live form with the frozen one


def test_images_that_are_wrong_when_clean_are_not_attacked() -> None:
    model, x, y = material()
    wrong = evaluate(model, x, (y + 2) % 5, {"aa": QUICK["aa"], "fgsm": QUICK["fgsm"]}, 0.02, batch_size=2)
    right = wrong.measures["clean"].correct
    assert right < 20
    every = evaluate(model, x, (model(x).argmax(dim=1) + 1) % 5, QUICK, 0.02)
    assert {measure.correct for measure in every.measures.values()} == {0}
    assert every.measures["aa"].parts == {"apgd-ce": 0.0, "apgd-t": 0.0, "fab-t": 0.0, "square": 0.0}


def test_a_diverged_model_is_wrong_and_said_to_be() -> None:
    model, x, _ = material()
    model[3].bias.data[0] = float("nan")
    found = evaluate(model, x, torch.zeros(20, dtype=torch.int64), QUICK, 0.02)
    assert found.measures["clean"].correct == 0
    assert found.warnings == ("clean: on 20 of 20 images the logits are not finite; they count as wrong",)


def test_names_stand_for_attacks_with_sensible_settings() -> None:
    assert parse_attack("fgsm", 0.1) == FgsmParams(kind="fgsm", images="all", checkpoints=("best", "last"))
    pgd = parse_attack("pgd-25", 0.1)
    assert isinstance(pgd, PgdParams)
    assert (pgd.steps, pgd.random_start) == (25, True)
    assert pgd.alpha == pytest.approx(0.01)
    aa = parse_attack("autoattack", 0.1)
    assert isinstance(aa, AutoAttackParams)
    assert (aa.steps, aa.queries) == (100, 5000)
    for name in ("pgd", "pgd-0", "pgd-x", "FGSM", "cw"):
        with pytest.raises(UserError, match=f"no attack is called '{name}'; there are fgsm, pgd-N"):
            parse_attack(name, 0.1)


def test_bad_arguments_are_refused_in_one_line() -> None:
    model, x, y = material()
    good: dict[str, Any] = {"model": model, "x": x, "y": y, "attacks": QUICK, "eps": 0.02}
    too_many = QUICK["aa"].model_copy(update={"images": 21})
    bad: list[tuple[dict[str, Any], str]] = [
        ({"x": "digits"}, "x must be images .* it is str"),
        ({"x": [[1.0], [1.0, 2.0]]}, "x must be images .* it is list"),
        ({"x": None}, "x must be images .* it is NoneType"),
        ({"x": (255 * x).byte()}, r"x must be floats in \[0, 1\]; it is torch.uint8"),
        ({"x": x[0]}, r"x must be .* it is torch.float32 \(1, 8, 8\)"),
        ({"x": x[:0], "y": y[:0]}, "N at least 1"),
        ({"y": y.float()}, r"y must be class numbers \(N,\), integers; it is torch.float32"),
        ({"y": y > 1}, r"y must be class numbers \(N,\), integers; it is torch.bool"),
        ({"y": y[:, None]}, r"y must be class numbers \(N,\), integers; it is torch.int64 \(20, 1\)"),
        ({"model": None}, "model must be a module or a function .* it is NoneType"),
        ({"model": nn.Flatten}, "it is the class Flatten; make an object of it"),
        ({"model": lambda x: model(x).argmax(1)}, r"must return logits .* it gave torch.int64 \(1,\)"),
        ({"model": lambda x: (model(x), x)}, "it gave a tuple of 2; take the logits out of it"),
        (
            {"model": nn.Sequential(nn.Flatten(), nn.Linear(9, 5))},
            r"cannot be run on images \(1, 8, 8\): mat1",
        ),
        ({"eps": 8}, "eps must be in .* it is 8: for 8 of 255 write 8/255"),
        ({"eps": 1.01}, "eps must be in"),
        ({"attacks": None}, "attacks must be names"),
        ({"attacks": [None]}, "no attack is called 'None'"),
        ({"attacks": {"mine": "pgd"}}, "mine is not a specification"),
        ({"device": "tpu"}, "device must be auto, cpu or cuda"),
        ({"y": y[:3]}, "there are 20 images and 3 labels"),
        ({"y": y - 5}, "y must be class numbers from 0 on"),
        ({"x": x * 255}, r"x must be in \[0, 1\]; it goes from .* divide 8-bit images by 255"),
        ({"x": x - 0.5}, r"x must be in \[0, 1\]"),
        ({"x": x.clone().index_fill_(0, torch.tensor([3]), float("nan"))}, r"x must be in \[0, 1\]"),
        ({"eps": -0.1}, "eps must be in"),
        ({"eps": float("nan")}, "eps: .*finite number"),
        ({"attacks": "cw"}, "no attack is called 'cw'"),
        ({"batch_size": 0}, "batch_size and workers must be at least 1"),
        ({"workers": 0}, "batch_size and workers must be at least 1"),
        ({"attacks": {"clean": QUICK["fgsm"]}}, "no attack can be named 'clean'"),
        (
            {"attacks": {"aa": too_many}},
            "aa: 21 images are requested, but there are 20",
        ),
        (
            {"model": nn.Identity()},
            r"must return logits \(1, classes\) .* torch.float32 \(1, 1, 8, 8\)",
        ),
    ]
    for change, message in bad:
        with pytest.raises(UserError, match=message) as raised:
            evaluate(**(good | change))
        assert "\n" not in str(raised.value)


class Cast(nn.Module):
    """A model that computes in another dtype inside."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = copy.deepcopy(model).to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x.to(self.dtype))
        return logits


def test_images_labels_and_models_in_other_forms_give_the_same_numbers() -> None:
    model, x, y = material()
    expected = evaluate(model, x, y, QUICK, 0.02)
    in_eval = nn.Sequential(nn.BatchNorm2d(1), model).eval()
    in_eval[0].eps = 0.0  # the running mean 0 and variance 1: it changes nothing
    others: list[dict[str, Any]] = [
        {"x": x.double()},
        {"x": x.numpy()},
        {"x": tuple(x)},
        {"x": x.clone().requires_grad_()},
        {"x": x.numpy().astype(">f4")},
        {"x": torch.where(x == x.max(), 1.0 + 1e-7, x) if x.max() == 1.0 else x},
        {"y": y.int()},
        {"y": y.to(torch.uint8)},
        {"y": y.numpy()},
        {"y": tuple(y.tolist())},
        {"model": lambda x: model(x)},
        {"model": in_eval},
        {"model": copy.deepcopy(model).double()},
    ]
    for change in others:
        found = evaluate(**({"model": model, "x": x, "y": y, "attacks": QUICK, "eps": 0.02} | change))
        assert {name: each.flags for name, each in found.measures.items()} == {
            name: each.flags for name, each in expected.measures.items()
        }, change.keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_other_precision_are_attacked_without_an_error(dtype: torch.dtype) -> None:
    model, x, y = material()
    for each in (Cast(model, dtype), copy.deepcopy(model).to(dtype)):
        assert evaluate(each, x, y, QUICK, 0.02).measures["aa"].n == 10


def test_the_callers_default_dtype_and_grad_mode_change_nothing() -> None:
    model, x, y = material()
    expected = evaluate(model, x, y, QUICK, 0.02)
    torch.set_default_dtype(torch.float64)
    try:
        assert evaluate(model, x, y, QUICK, 0.02).measures == expected.measures
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        assert evaluate(model, x, y, QUICK, 0.02) == expected
    with torch.inference_mode():
        assert evaluate(model, x.clone(), y.clone(), QUICK, 0.02).measures == expected.measures


def test_a_model_that_normalises_in_place_changes_neither_the_images_nor_the_result() -> None:
    model, x, y = material()
    kept = x.clone()

    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model(x.sub_(0.13).div_(0.31))

    def pure(x: Tensor) -> Tensor:
        return model((x - 0.13) / 0.31)

    y = pure(x).argmax(dim=1)
    found = evaluate(InPlace(), x, y, QUICK, 0.02)
    assert x.equal(kept)
    assert found.measures == evaluate(pure, x, y, QUICK, 0.02).measures
    assert found.measures["clean"].correct == 20


def test_progress_is_told_and_ends_complete() -> None:
    events: list[Event] = []
    evaluate_two(1, ["fgsm", "pgd", "aa"], events.append)
    told = [event for event in events if isinstance(event, Progress)]
    assert len(told) == len(events)
    assert {event.task for event in told} == {"attacks"}
    done = [event.done for event in told]
    assert done[0] == 0
    assert done == sorted(done)
    assert done[-1] == told[-1].total == told[0].total
    assert told[-1].eta == 0.0


def test_workers_are_used_where_they_pay() -> None:
    cores = len(os.sched_getaffinity(0))
    assert useful_workers(CPU, 1e6) == cores
    assert useful_workers(CPU, 0.1) == 1
    assert useful_workers(torch.device("cuda"), 1e6) == 1


def test_a_model_that_cannot_be_pickled_is_attacked_in_this_process() -> None:
    class Local(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model(x)

    model, x, y = material()
    events: list[Event] = []
    found = evaluate(Local(), x, y, QUICK, 0.02, workers=2, on_event=events.append)
    assert found == evaluate(model, x, y, QUICK, 0.02)
    warnings = [event.text for event in events if isinstance(event, Note) and event.warning]
    assert len(warnings) == 1
    assert "no worker processes" in warnings[0]


def test_a_model_that_workers_cannot_import_is_attacked_in_this_process(capfd: pytest.CaptureFixture[str]) -> None:
    module = types.ModuleType("ssmlab_only_here")
    exec("from torch import nn\nclass Here(nn.Flatten):\n    pass\n", module.__dict__)
    model, x, y = module.Here(), torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(4)
    sys.modules[module.__name__] = module
    events: list[Event] = []
    try:
        found = evaluate(model, x, y, ["fgsm", "pgd-2"], 0.02, batch_size=1, workers=2, on_event=events.append)
    finally:
        del sys.modules[module.__name__]
    assert found.measures["clean"].n == 4
    assert any(isinstance(event, Note) and "ssmlab_only_here" in event.text for event in events)
    assert capfd.readouterr() == ("", "")


ENDLESS = """
import sys, torch
from torch import nn
from ssmlab.evaluation.evaluate import evaluate
from ssmlab.core.events import Progress
from ssmlab.params import PgdParams
from ssmlab.params.written_float import WrittenFloat

def on_event(event):
    if isinstance(event, Progress):
        print(event.done, flush=True)

if __name__ == "__main__":
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    x = torch.rand(400, 1, 4, 4)
    spec = {"random_start": True, "images": "all", "checkpoints": ("best",)}
    attacks = {str(steps): PgdParams(kind="pgd", alpha=WrittenFloat(0.1), steps=steps, **spec) for steps in (1, 10**8)}
    try:
        evaluate(model, x, model(x).argmax(1), attacks, 0.0, batch_size=400, workers=2, on_event=on_event)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def members(session: int) -> list[str]:
    """The processes of a session that are alive, by their command lines."""
    alive = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                alive.append((folder / "cmdline").read_text())
        except OSError:
            continue
    return alive


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see which processes are alive")
@pytest.mark.parametrize(
    ("wait_for", "number", "code"),
    [
        pytest.param("0\n", signal.SIGINT, 130, id="Ctrl-C while workers start"),
        pytest.param("400\n", signal.SIGINT, 130, id="Ctrl-C at work", marks=pytest.mark.slow),
        pytest.param("400\n", signal.SIGKILL, -9, id="killed at work", marks=pytest.mark.slow),
    ],
)
def test_workers_end_with_their_parent(wait_for: str, number: signal.Signals, code: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ENDLESS)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        told = 0
        while told < 2:  # the second time, a second has passed in which nothing was finished
            told += process.stdout.readline() == wait_for
            assert process.poll() is None
        assert len(members(process.pid)) > 2
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: to parent and workers
        else:
            process.send_signal(number)
        _, errors = process.communicate(timeout=60)  # ends only when every holder of stderr has
        patience = time.monotonic() + 30
        while members(process.pid) and time.monotonic() < patience:
            time.sleep(0.05)
        assert members(process.pid) == []
        assert process.returncode == code
        assert "Traceback" not in errors
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_dead_worker_is_a_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, y = material()

    def die(*args: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(workers, "collect", die)
    with pytest.raises(UserError, match=r"a worker process died .* try again with workers=1"):
        evaluate(model, x, y, QUICK, 0.02, workers=2)


@pytest.mark.parametrize("trained", [False, True])
def test_a_model_that_detaches_its_images_is_attacked_and_reported(trained: bool) -> None:
    """Also where its logits have a gradient, which is that of weights the evaluation does not know of."""
    weights = torch.randn(4, 3, requires_grad=trained)

    def detached(x: Tensor) -> Tensor:
        return x.detach().flatten(1) @ weights

    x = torch.rand(8, 1, 2, 2)
    y = detached(x).detach().argmax(1)  # right on every image: gradients are only looked at where the model is right
    found = evaluate(detached, x, y, ["fgsm"], 0.1)
    assert found.measures["fgsm"].correct == found.measures["clean"].correct
    assert any("gradient" in warning for warning in found.warnings)
