"""The transfer matrix of a study: `ssmlab transfer`, which is not a stage of the pipeline (see docs/evaluation.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ssmlab.artifacts.checkpoint import build_from
from ssmlab.artifacts.stage_run import StageInput, StageRun, file_input, prepared_input, start_stage
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.core.text import hint, listed, printable
from ssmlab.core.version import __version__
from ssmlab.data.dataset import Dataset, load_dataset
from ssmlab.evaluation.attack_names import parse_attack
from ssmlab.evaluation.attacked_data import attacked_data
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.plan import check_images_asked
from ssmlab.evaluation.protocol import canonical_attacks, radius
from ssmlab.evaluation.tasks import AttackInputs
from ssmlab.evaluation.transfer import TransferFlags, require_transferable, transfers_between
from ssmlab.evaluation.transfer_results import TransferResults, save_transfer, transfer_checks
from ssmlab.nets.device import resolve_device
from ssmlab.params import AttackSpec, Params
from ssmlab.params.paths import Paths
from ssmlab.stages.trained_run import TrainedRun, read_trained_run

USUAL_IMAGES = 200


def transfer(
    params: Params,
    names: Sequence[str],
    paths: Paths,
    attack: str = "pgd-10",
    images: int | None = None,
    device: str | None = None,
    on_event: Listener = silence,
    reread: Callable[[], Params] | None = None,
) -> TransferResults:
    """Attack the best checkpoint of every run, test all others on the attacked images, and write `paths.transfer`.

    Args:
        names: runs and groups of runs; every trained run of the study if there are none.
        attack: an attack of params.yaml, or `fgsm` or `pgd-N` with the step size that `ssmlab.evaluate` gives it.
        images: number of test images, the first ones; None for 200, or all if there are fewer.
        device: overrides `attack.device`.
        reread: returns the present params.yaml; if it has changed since the start, results are not published.

    Raises:
        UserError: an unknown run, group, attack or device, fewer than two trained runs, more images than there are,
            damaged inputs, a full disk, or params, code or inputs have changed. Earlier results are untouched.
    """
    require_transferable(attack, transfer_spec(params, attack, images or USUAL_IMAGES))
    resolved = resolve_device(device or params.attack.device)
    dataset = load_dataset(paths.prepared)
    images = min(USUAL_IMAGES, len(dataset.test)) if images is None else images
    spec = transfer_spec(params, attack, images)
    check_images_asked(attack, spec, len(dataset.test))
    runs = chosen_runs(params, names, paths, on_event)
    trained = {run: read_trained_run(run, paths, dataset) for run in runs}
    started = start_stage(
        "transfer",
        partial(transfer_params, attack=attack, images=images, runs=runs),
        params,
        [prepared_input(paths.prepared, dataset.fingerprint), *map(best_input, trained.values())],
        [paths.transfer],
        root=paths.root,
        reread=reread,
        device=resolved.type,
        threads=1,
    )
    models = {run: build_from(each.checkpoints["best"], resolved) for run, each in trained.items()}
    x, y = dataset.test.tensors(images)
    inputs = AttackInputs(dict(models), x, y, study_ball(params), params.attack.seed, resolved)
    found = transfers_between(inputs, attack, spec, params.attack.batch_size, on_event)
    results = assemble_transfer(params, attack, dataset, images, trained, found, started)
    started.require_unchanged(paths.transfer, "ssmlab transfer")
    save_transfer(paths.transfer, results)
    for sentence in [check.sentence for check in results.checks.values() if check.raised]:
        on_event(Note(sentence, warning=True))
    on_event(Note(f"wrote {paths.transfer}; for the report: `ssmlab report && dvc commit -f report`"))
    return results


def study_ball(params: Params) -> Ball:
    """The ball that the attacks of the study search."""
    return Ball(float(params.attack.eps), params.attack.norm)


def transfer_spec(params: Params, attack: str, images: int) -> AttackSpec:
    """The attack of params.yaml with this name, or the one that `ssmlab.evaluate` knows by it, on `images` images."""
    found = params.attack.attacks.get(attack) or parse_attack(attack, float(params.attack.eps))
    return found.model_copy(update={"images": images})


def chosen_runs(params: Params, names: Sequence[str], paths: Paths, on_event: Listener) -> tuple[str, ...]:
    """The runs that `names` mean, each once. Without names: all trained runs, with a note that names the others.

    Raises:
        UserError: an unknown name, or fewer than two runs.
    """
    for name in names:
        if not params.runs_named(name):
            known = hint(name, [*params.groups, *params.runs], "runs and groups")
            raise UserError(f"no run or group '{printable(name, 80)}' in study {params.study} ({known})")
    runs = tuple(dict.fromkeys(run for name in names or params.runs for run in params.runs_named(name)))
    if not names:
        absent = [run for run in runs if not paths.checkpoint(run, "best").is_file()]
        runs = tuple(run for run in runs if run not in absent)
        if absent:
            on_event(Note(f"not trained yet, and left out: {listed(absent)}", warning=True))
    if len(runs) < 2:
        raise UserError(
            f"study {params.study}: transfer needs at least two trained runs, but has only: {listed(runs) or 'none'}; "
            "run `ssmlab repro`, or name more runs"
        )
    return runs


def best_input(trained: TrainedRun) -> StageInput:
    """The best checkpoint of a run as an input of the command."""
    return file_input(trained.files["best"], trained.checkpoints["best"].sha256)


def transfer_params(params: Params, *, attack: str, images: int, runs: Sequence[str]) -> dict[str, Any]:
    """What the results depend on: a part of params.yaml, and the arguments of the command."""
    settings, spec = params.attack, transfer_spec(params, attack, images)
    return {
        "study": params.study,
        "attack": {
            "norm": settings.norm,
            "eps": str(settings.eps),
            "batch_size": settings.batch_size,
            "seed": settings.seed,
        },
        "transfer": {"attack": attack, "spec": spec.plain(), "runs": list(runs)},
    }


def assemble_transfer(
    params: Params,
    attack: str,
    dataset: Dataset,
    images: int,
    trained: Mapping[str, TrainedRun],
    found: TransferFlags,
    started: StageRun,
) -> TransferResults:
    """The content of the results file."""
    spec = transfer_spec(params, attack, images)
    return TransferResults(
        format=1,
        study=params.study,
        attack=attack,
        spec=canonical_attacks({attack: spec})[attack],
        norm=params.attack.norm,
        eps=radius(params.attack.eps),
        batch_size=params.attack.batch_size,
        seed=params.attack.seed,
        data=attacked_data(dataset, images),
        code_version=__version__,
        checkpoints={run: each.checkpoints["best"].sha256 for run, each in trained.items()},
        clean=found.clean,
        transfers=found.transfers,
        withstood=found.withstood,
        checks=transfer_checks(found.withstood, found.transfers, attack),
        provenance=started.provenance,
    )
