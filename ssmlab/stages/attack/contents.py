"""The content of the results file of an attack: the protocol, the measures and their origin."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from ssmlab.artifacts.manifest import Manifest
from ssmlab.artifacts.metadata import CheckpointFile
from ssmlab.artifacts.provenance import Provenance
from ssmlab.core.version import __version__
from ssmlab.data.dataset import Dataset
from ssmlab.evaluation.attacked_data import attacked_data
from ssmlab.evaluation.protocol import Protocol, radius
from ssmlab.evaluation.results import AttackResults, CheckpointResults, Evaluation
from ssmlab.params import AttackParams, TokenParams, Which
from ssmlab.stages.attack.scan import scan_places


def attack_results(
    settings: AttackParams,
    study: str,
    run: str,
    dataset: Dataset,
    checkpoints: Mapping[Which, CheckpointFile],
    evaluations: Mapping[str, Evaluation],
    provenance: Provenance,
    manifest: Manifest | None,
) -> AttackResults:
    """The results of attacks on the `checkpoints` of a run.

    Args:
        evaluations: one for each checkpoint, by the same names.
        provenance: what the attacks were started from.
        manifest: the manifest of the run's folder; None for an imported checkpoint.
    """
    one = next(iter(checkpoints.values()))  # all are of one training
    training, protocol = one.metadata.train, protocol_of(settings, dataset, provenance.device)
    scans = {
        name: scan_places(one.metadata.model, dataset.image_shape, spec.patch)
        for name, spec in settings.attacks.items()
        if isinstance(spec, TokenParams) and spec.positions == "all"
    }
    return AttackResults(
        format=2,
        study=study,
        run=run,
        parameters=one.parameters,
        model=one.metadata.model.plain(),
        train=training.plain() if training else {},
        code_version=__version__,
        protocol=protocol,
        protocol_fingerprint=protocol.fingerprint(),
        checkpoints={which: checkpoint_results(each, evaluations[which]) for which, each in checkpoints.items()},
        scans=scans or None,
        provenance=provenance,
        manifest=manifest.without_history() if manifest else None,
    )


def protocol_of(settings: AttackParams, dataset: Dataset, device: str | None) -> Protocol:
    """How the numbers were measured: the settings of the attacks, and the attacked images."""
    return Protocol(
        data=attacked_data(dataset, len(dataset.test)),
        norm=settings.norm,
        eps=radius(settings.eps),
        batch_size=settings.batch_size,
        seed=settings.seed,
        attacks=settings.attacks,
        torchattacks=version("torchattacks"),
        device="cuda" if device == "cuda" else "cpu",
    )


def checkpoint_results(checkpoint: CheckpointFile, evaluation: Evaluation) -> CheckpointResults:
    """The evaluation of a checkpoint, with the checkpoint's own data about its training."""
    metadata = checkpoint.metadata
    return CheckpointResults(
        **dict(evaluation),
        sha256=checkpoint.sha256,
        epoch=metadata.epoch,
        val_clean=metadata.val_clean,
        val_robust=metadata.val_robust,
        selection_split=metadata.selection_split,
    )
