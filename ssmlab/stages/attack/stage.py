"""The stage `attack`: the checkpoints of one run, or one imported checkpoint, under the judging attacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ssmlab.artifacts.checkpoint import build_from
from ssmlab.artifacts.heartbeat import HeartbeatWriter, with_heartbeat
from ssmlab.artifacts.outcome import recording_outcome
from ssmlab.artifacts.provenance import Provenance
from ssmlab.artifacts.stage_run import StageRun, prepared_input, start_stage
from ssmlab.core.blocked_paths import require_all
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, silence
from ssmlab.core.files import sha256_text
from ssmlab.core.json_text import canonical_json
from ssmlab.data.dataset import Dataset, load_dataset
from ssmlab.data.pixels import to_unit
from ssmlab.evaluation.adversarials import AdversarialFolder
from ssmlab.evaluation.evaluate import evaluate_models
from ssmlab.evaluation.journal import OutcomeJournal
from ssmlab.evaluation.plan import check_attacks
from ssmlab.evaluation.results import Evaluation, save_results
from ssmlab.nets.classifier import Classifier
from ssmlab.nets.device import resolve_device
from ssmlab.params import AttackSpec, Params, Which
from ssmlab.params.paths import Paths
from ssmlab.stages.attack.contents import attack_results
from ssmlab.stages.attack.reporting import notes
from ssmlab.stages.attack.target import Target, check_image_shape, imported_target, trained_target
from ssmlab.stages.trained_run import first_of_same_model


def attack(
    params: Params,
    run: str,
    paths: Paths,
    device: str | None = None,
    on_event: Listener = silence,
    reread: Callable[[], Params] | None = None,
    save_to: Path | None = None,
) -> None:
    """Attack both checkpoints of `run` on the first test images and write `paths.attack(run)`.

    From `params`, only `attack` and the study's name are read; model and training are those of the checkpoints. Each
    checkpoint is read once, so the results name exactly the attacked bytes. While the stage works, progress.json in
    `paths.live(run)` is its heartbeat. attack.journal next to it stores the finished work, so that a killed attack can
    continue.

    Args:
        device: overrides `attack.device`.
        reread: returns the present params.yaml; if it has changed since the start, results are not published.
        save_to: a folder for the adversarial images, WHICH/ATTACK.safetensors for each checkpoint
            (`ssmlab.evaluation.adversarials`). Such an attack keeps no journal and cannot continue after a kill.

    Raises:
        UserError: unknown device, missing or damaged inputs, an attack on more images than there are, a full disk, or
            params, code or inputs have changed. Earlier results are untouched.
        Interrupted: Ctrl-C. Earlier results are untouched.
    """
    resolved = resolve_device(device or params.attack.device)
    require_all(paths.prepared, paths.model(run), remedy=f"run `ssmlab repro {run}`")
    dataset = load_attacked_data(params, paths)
    job = AttackJob(params, paths, dataset, resolved, trained_target(run, paths, dataset), save_to)
    models, started = job.build_models(), job.start(reread)
    live = paths.live(run)
    heart = HeartbeatWriter(live / "progress.json", stage="attack", study=params.study, run=run, device=resolved.type)
    again = f"earlier results are untouched, `ssmlab attack {run}` {'starts again' if save_to else 'continues'}"
    with recording_outcome(heart, silence, lambda: f"attack on run {run} stopped", lambda: again, lambda _: None):
        job.attack_and_publish(models, started, with_heartbeat(heart, on_event))
        heart.close("finished")


def attack_file(
    params: Params,
    path: Path,
    paths: Paths,
    device: str | None = None,
    on_event: Listener = silence,
    reread: Callable[[], Params] | None = None,
) -> Path:
    """Attack an imported checkpoint in the same way as the runs of the study, so that they can be compared.

    Returns:
        The results file, results/imported/attack/NAME.json, where NAME is stored in the checkpoint. It cannot replace
        results of a trained run, because no study can be called `imported`.

    Raises:
        UserError: the checkpoint was not imported, or it needs other images than the prepared ones; and as `attack`.
    """
    resolved = resolve_device(device or params.attack.device)
    target = imported_target(path, paths)
    dataset = load_attacked_data(params, paths)
    for checkpoint in target.checkpoints.values():
        check_image_shape(checkpoint.metadata, dataset, path)
    job = AttackJob(params, paths, dataset, resolved, target)
    models = job.build_models()
    on_event(Note(f"{path}: its training data are unknown and may contain the test images", warning=True))
    job.attack_and_publish(models, job.start(reread), on_event)
    return target.results


def load_attacked_data(params: Params, paths: Paths) -> Dataset:
    """The prepared data set; raises UserError if it cannot be attacked as `params` ask for."""
    dataset = load_dataset(paths.prepared)
    check_attacks(params.attack.attacks, len(dataset.test), dataset.classes, "params.yaml: attack.attacks.")
    return dataset


@dataclass(frozen=True)
class AttackJob:
    """The attacks on one target."""

    params: Params
    paths: Paths
    dataset: Dataset
    device: torch.device
    target: Target
    save_to: Path | None = None

    def build_models(self) -> dict[Which, Classifier]:
        """The model of each checkpoint; checkpoints of the same model share one object and are attacked once."""
        same = first_of_same_model(self.target.checkpoints)
        models = {first: build_from(self.target.checkpoints[first], self.device) for first in set(same.values())}
        return {which: models[first] for which, first in same.items()}

    def start(self, reread: Callable[[], Params] | None) -> StageRun:
        """Record params, code and inputs at the start of the attacks."""
        return start_stage(
            "attack",
            attack_params,
            self.params,
            [prepared_input(self.paths.prepared, self.dataset.fingerprint), *self.target.inputs],
            [self.target.results, self.target.aside],
            root=self.paths.root,
            reread=reread,
            device=self.device.type,
            threads=torch.get_num_threads(),
        )

    def attack_and_publish(self, models: Mapping[Which, Classifier], started: StageRun, on_event: Listener) -> None:
        """Attack the models and write the results. If params, code or inputs have changed, the results are put aside.

        Raises:
            UserError: params, code or inputs have changed.
        """
        target, provenance = self.target, started.provenance
        journal = None if self.save_to else self.open_journal(provenance)
        evaluations = self.evaluate(models, on_event, journal)
        results = attack_results(
            self.params.attack,
            target.study,
            target.run,
            self.dataset,
            target.checkpoints,
            evaluations,
            provenance,
            target.manifest,
        )
        changed = started.changed()
        save_results(target.aside if changed else target.results, results)
        if journal:
            journal.remove()
        if changed:
            raise UserError(
                f"{changed} since the attack on {target.name} started, so its results are not published; "
                f"they are kept as {target.aside}; `ssmlab attack {target.name}` attacks again with the present inputs"
            )

    def open_journal(self, provenance: Provenance) -> OutcomeJournal:
        """The journal, with the outcomes from before a kill if they are still valid; new outcomes are added to it."""
        return OutcomeJournal(self.target.aside.with_name("attack.journal"), evaluation_fingerprint(provenance))

    def evaluate(
        self, models: Mapping[Which, Classifier], on_event: Listener, journal: OutcomeJournal | None
    ) -> Mapping[str, Evaluation]:
        """Evaluate every checkpoint under its attacks, with a note for each accuracy and warning."""
        settings, test = self.params.attack, self.dataset.test
        plan: dict[str, dict[str, AttackSpec]] = {
            which: {name: spec for name, spec in settings.attacks.items() if which in spec.checkpoints}
            for which in models
        }
        evaluations = evaluate_models(
            {str(which): model for which, model in models.items()},
            to_unit(test.images),
            test.labels,
            plan,
            settings.eps,
            norm=settings.norm,
            batch_size=settings.batch_size,
            seed=settings.seed,
            device=self.device,
            on_event=on_event,
            journal=journal,
            binarisation=settings.binarisation or 0,
            save_adversarials=self.folders(),
        )
        for name, evaluation in evaluations.items():
            for note in notes(name, evaluation):
                on_event(note)
        return evaluations

    def folders(self) -> dict[str, AdversarialFolder]:
        """The folder for the images of each checkpoint; empty if images are not kept."""
        if self.save_to is None:
            return {}
        checkpoints = self.target.checkpoints.items()
        return {which: AdversarialFolder(self.save_to / which, each.sha256) for which, each in checkpoints}


def evaluation_fingerprint(provenance: Provenance) -> str:
    """A hash of everything that the outcomes depend on. It does not contain the number of threads: attacks use one."""
    parts = (
        provenance.params_sha256,
        provenance.code_sha256,
        provenance.inputs,
        provenance.versions,
        provenance.device,
    )
    return sha256_text(canonical_json(parts))


def attack_params(params: Params) -> dict[str, Any]:
    """The part of params.yaml that the stage reads."""
    return {"study": params.study, "attack": params.attack.plain()}
