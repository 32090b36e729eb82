"""The stage `attack` on the smoke study, from prepared data and two checkpoints to its results file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ssmlab.artifacts.checkpoint import load, save
from ssmlab.artifacts.heartbeat import read_heartbeat
from ssmlab.artifacts.metadata import count_parameters
from ssmlab.core.errors import Interrupted, UserError
from ssmlab.core.events import Event, Note, Progress
from ssmlab.core.files import sha256_file
from ssmlab.data.dataset import load_dataset
from ssmlab.data.pixels import to_unit
from ssmlab.evaluation.results import load_results
from ssmlab.nets.build import build
from ssmlab.params import Params, Which
from ssmlab.params.paths import Paths
from ssmlab.params.written_float import WrittenFloat
from ssmlab.stages.attack.stage import attack
from ssmlab.stages.checkpoint_attack import recheck_run
from ssmlab.stages.prepare import prepare
from tests.artifacts.trained_metadata import trained_metadata
from tests.stages.manifests import add_manifest

RUN = "ads"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Params], Path]:
    """Makes, once, the folder of a study that is prepared and trained: data/ and models/."""
    made: list[Path] = []

    def make(params: Params) -> Path:
        if not made:
            root = tmp_path_factory.mktemp("study")
            paths = Paths(params.study, root)
            prepare(params, paths)
            for epoch, which in ((1, "best"), (2, "last")):
                checkpoint(params, paths, which, epoch)
            add_manifest(paths.model(RUN), params.study)
            made.append(root)
        return made[0]

    return make


def checkpoint(params: Params, paths: Paths, which: Which, epoch: int, name: str = RUN) -> None:
    """A model whose head is fitted a little, so that it is right on some images and not robust."""
    run, data = params.run(name), load_dataset(paths.prepared)
    model = build(run.model, data.image_shape, data.classes, run.train.seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(epoch)
    for _ in range(25):
        rows = torch.randint(len(data.train), (64,), generator=generator)
        loss = torch.nn.functional.cross_entropy(model(to_unit(data.train.images[rows])), data.train.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    about = trained_metadata(
        run,
        study=params.study,
        which=which,
        epoch=epoch,
        image_shape=data.image_shape,
        classes=data.classes,
        val_clean=0.5,
        val_robust=0.25,
        data_name=data.name,
        data_fingerprint=data.fingerprint,
    )
    save(paths.checkpoint(name, which), model, about)


@pytest.fixture
def paths(tmp_path: Path, tiny_params: Params, study: Callable[[Params], Path]) -> Paths:
    shutil.copytree(study(tiny_params), tmp_path, dirs_exist_ok=True)
    return Paths(tiny_params.study, tmp_path)


def with_attack(params: Params, **changes: Any) -> Params:
    return params.model_copy(update={"attack": params.attack.model_copy(update=changes)})


def test_the_results_file_says_what_was_done_and_found(tiny_params: Params, paths: Paths) -> None:
    events: list[Event] = []
    mild = with_attack(tiny_params, eps=WrittenFloat("2/255"))
    attack(mild, RUN, paths, "cpu", events.append)
    results = load_results(paths.attack(RUN))
    data = load_dataset(paths.prepared)

    assert (results.study, results.run) == ("smoke", RUN)
    assert results.parameters == count_parameters(paths.checkpoint(RUN, "best"))
    assert results.model == tiny_params.runs[RUN].model.plain()
    assert results.train == tiny_params.runs[RUN].train.plain()
    protocol = results.protocol
    assert protocol.attacks == tiny_params.attack.attacks
    assert (protocol.batch_size, protocol.seed, protocol.device, protocol.torchattacks) == (25, 0, "cpu", "3.5.1")
    assert (protocol.eps.text, protocol.eps.value) == ("2/255", 2 / 255)
    assert (protocol.data.fingerprint, protocol.data.n) == (data.fingerprint, 100)
    assert protocol.data.indices_hash == data.test.indices_hash(100)

    assert list(results.checkpoints["best"].measures) == ["autoattack", "clean", "fgsm", "pgd-2"]  # the file sorts keys
    assert list(results.checkpoints["last"].measures) == ["clean", "fgsm", "pgd-2"]
    for which, checkpoint in results.checkpoints.items():
        assert checkpoint.sha256 == sha256_file(paths.checkpoint(RUN, which))
        assert (checkpoint.epoch, checkpoint.val_clean, checkpoint.val_robust) == (1 + (which == "last"), 0.5, 0.25)
        assert checkpoint.measures["clean"].n == 100
        assert checkpoint.measures["fgsm"].n == 50
        model, _ = load(paths.checkpoint(RUN, which))
        right = model(to_unit(data.test.images)).argmax(dim=1) == data.test.labels
        assert checkpoint.measures["clean"].flags == "".join(str(int(flag)) for flag in right)
        assert 0 < checkpoint.measures["fgsm"].correct < right[:50].sum()
    best = results.checkpoints["best"]
    assert best.measures["autoattack"].n == best.worst_case.n == 10
    assert best.measures["autoattack"].standard is False
    assert best.measures["fgsm"].standard is None

    told = [event.text for event in events if isinstance(event, Note)]
    clean = best.measures["clean"]
    assert any(text.startswith(f"best: clean {clean.accuracy:.1%} of 100 images (95%: ") for text in told)
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total > 0
    heartbeat = read_heartbeat(paths.live(RUN) / "progress.json")
    assert heartbeat is not None
    assert (heartbeat.stage, heartbeat.study, heartbeat.run, heartbeat.state) == ("attack", "smoke", RUN, "finished")
    assert (heartbeat.step, heartbeat.steps) == (progress[-1].done, progress[-1].total)


def test_attacks_in_l2_break_less_at_the_same_eps_and_say_their_norm(tiny_params: Params, paths: Paths) -> None:
    attack(tiny_params, RUN, paths, "cpu")
    linf = load_results(paths.attack(RUN))
    attack(with_attack(tiny_params, norm="l2"), RUN, paths, "cpu")
    l2 = load_results(paths.attack(RUN))
    assert (linf.protocol.norm, l2.protocol.norm) == ("linf", "l2")
    assert linf.protocol_fingerprint != l2.protocol_fingerprint
    for name in ("fgsm", "pgd-2"):
        assert l2.checkpoints["best"].measures[name].correct > linf.checkpoints["best"].measures[name].correct


def test_equal_results_are_equal_bytes(tiny_params: Params, paths: Paths) -> None:
    attack(tiny_params, RUN, paths, "cpu")
    first = paths.attack(RUN).read_bytes()
    torch.rand(3)
    attack(tiny_params, RUN, paths, "cpu")
    assert paths.attack(RUN).read_bytes() == first
    assert str(paths.root).encode() not in first
    assert json.loads(first)["format"] == 2


def refused(params: Params, run: str, paths: Paths, message: str, device: str = "cpu") -> None:
    paths.attack(RUN).parent.mkdir(parents=True, exist_ok=True)
    paths.attack(RUN).write_text("earlier")
    with pytest.raises(UserError, match=message) as raised:
        attack(params, run, paths, device)
    assert "\n" not in str(raised.value)
    assert paths.attack(RUN).read_text() == "earlier"


def test_an_attack_that_keeps_its_images_gives_equal_bytes_and_checks_each_checkpoint_on_them_again(
    tiny_params: Params, paths: Paths, tmp_path: Path
) -> None:
    attack(tiny_params, RUN, paths, "cpu")
    expected = paths.attack(RUN).read_bytes()
    kept = tmp_path / "kept"
    attack(tiny_params, RUN, paths, "cpu", save_to=kept)
    assert paths.attack(RUN).read_bytes() == expected
    results = load_results(paths.attack(RUN))
    found = {each.attack: each for each in recheck_run(RUN, paths, kept)}
    measured = {
        f"{which}: {name}": measure.correct
        for which, each in results.checkpoints.items()
        for name, measure in each.measures.items()
        if name != "clean"
    }
    assert {name: each.before for name, each in found.items()} == measured
    assert all(each.changed == 0 for each in found.values())
    shutil.rmtree(kept / "best")
    (kept / "last").rename(kept / "best")
    with pytest.raises(UserError, match="these images are for another checkpoint"):
        recheck_run(RUN, paths, kept)
    with pytest.raises(UserError, match="no adversarial images there"):
        recheck_run(RUN, paths, tmp_path / "nowhere")


def test_a_run_that_cannot_be_attacked_is_refused_in_one_line(tiny_params: Params, paths: Paths) -> None:
    refused(tiny_params, "adz", paths, r"adz/manifest.json: not found .*; run `ssmlab train adz`")
    refused(tiny_params, RUN, paths, r"device 'tpu'", device="tpu")
    refused(tiny_params, "ssm", paths, r"manifest.json: not found .*; run `ssmlab train ssm`")
    greedy = {"fgsm": tiny_params.attack.attacks["fgsm"].model_copy(update={"images": 5000})}
    refused(with_attack(tiny_params, attacks=greedy), RUN, paths, r"attack.attacks.fgsm: 5000 images .* there are 100")
    paths.checkpoint(RUN, "last").write_bytes(paths.checkpoint(RUN, "last").read_bytes()[:1000])
    refused(tiny_params, RUN, paths, r"last.safetensors: ")
    paths.prepared.unlink()
    refused(tiny_params, RUN, paths, r"smoke.safetensors.*ssmlab prepare")


def test_a_checkpoint_of_other_data_is_refused(tiny_params: Params, paths: Paths) -> None:
    other = tiny_params.model_copy(update={"data": tiny_params.data.model_copy(update={"seed": 1})})
    prepare(other, paths)
    refused(tiny_params, RUN, paths, r"run ads, checkpoint best: it was trained on other data .* `ssmlab train ads`")


@pytest.mark.parametrize(
    ("error", "raised", "state"),
    [(KeyboardInterrupt(), Interrupted, "stopped"), (RuntimeError("no memory\nleft"), RuntimeError, "failed")],
)
def test_an_attack_that_ends_early_keeps_earlier_results_and_says_so(
    error: BaseException, raised: type[BaseException], state: str, tiny_params: Params, paths: Paths
) -> None:
    paths.attack(RUN).parent.mkdir(parents=True)
    paths.attack(RUN).write_text("earlier")

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.done > 0:
            raise error

    with pytest.raises(raised) as caught:
        attack(tiny_params, RUN, paths, "cpu", listen)
    assert paths.attack(RUN).read_text() == "earlier"
    heartbeat = read_heartbeat(paths.live(RUN) / "progress.json")
    assert heartbeat is not None
    assert heartbeat.state == state
    assert "\n" not in heartbeat.message
    if raised is Interrupted:
        assert caught.value.code == 130
        assert str(caught.value) == (
            "attack on run ads stopped; earlier results are untouched, `ssmlab attack ads` continues"
        )


def test_a_stopped_attack_continues_to_equal_bytes(tiny_params: Params, paths: Paths) -> None:
    attack(tiny_params, RUN, paths, "cpu")
    expected, journal = paths.attack(RUN).read_bytes(), paths.live(RUN) / "attack.journal"
    assert not journal.exists()

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.done > 30:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        attack(tiny_params, RUN, paths, "cpu", stop)
    assert len(journal.read_text().splitlines()) > 1
    attack(tiny_params, RUN, paths, "cpu")
    assert paths.attack(RUN).read_bytes() == expected
    assert not journal.exists()


def test_a_best_and_a_last_checkpoint_of_different_trainings_are_refused(tiny_params: Params, paths: Paths) -> None:
    """The files as a kill between the two renames leaves them."""
    best = load(paths.checkpoint(RUN, "best"))[0]
    _, metadata = load(paths.checkpoint(RUN, "last"))
    save(paths.checkpoint(RUN, "last"), best, metadata)
    refused(tiny_params, RUN, paths, r"last.safetensors: does not match manifest.json beside it")


def test_results_name_the_checkpoint_that_was_attacked_and_not_one_that_replaced_it(
    tiny_params: Params, paths: Paths
) -> None:
    def replace_best(event: Event) -> None:
        shutil.copy(paths.checkpoint(RUN, "last"), paths.checkpoint(RUN, "best"))

    with pytest.raises(UserError, match=r"best\.safetensors has changed since the attack on ads started") as caught:
        attack(tiny_params, RUN, paths, "cpu", replace_best)
    assert "\n" not in str(caught.value)
    assert not paths.attack(RUN).exists()
    kept = paths.live(RUN) / "unpublished-attack.json"
    assert load_results(kept).checkpoints["best"].sha256 != sha256_file(paths.checkpoint(RUN, "best"))


def test_results_of_params_that_changed_meanwhile_are_kept_aside(tiny_params: Params, paths: Paths) -> None:
    later = with_attack(tiny_params, seed=7)
    with pytest.raises(UserError, match=r"params\.yaml has changed since the attack on ads started"):
        attack(tiny_params, RUN, paths, "cpu", reread=lambda: later)
    assert not paths.attack(RUN).exists()


def test_results_say_how_far_the_training_came_and_what_was_run(tiny_params: Params, paths: Paths) -> None:
    attack(tiny_params, RUN, paths, "cpu", reread=lambda: tiny_params)
    results = load_results(paths.attack(RUN))
    assert results.manifest is not None and results.provenance is not None
    assert (results.manifest.epochs_done, results.manifest.epochs_asked) == (2, 2)
    assert results.provenance.params["attack"] == tiny_params.attack.plain()
    assert len(results.provenance.inputs) == 3
