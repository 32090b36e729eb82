"""Which test images an attack flips, and what became of them: `ssmlab samples`, no stage of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ssmlab.artifacts.checkpoint import build_from
from ssmlab.artifacts.metadata import read_checkpoint
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Progress, silence
from ssmlab.core.text import hint, printable
from ssmlab.data.dataset import load_dataset
from ssmlab.data.pixels import to_unit
from ssmlab.evaluation.parts import phases_before_screening
from ssmlab.evaluation.plan import check_attacks
from ssmlab.evaluation.tasks import AttackInputs, AttackRunner, AttackTask, modules_restored, one_thread
from ssmlab.evaluation.victim import is_right
from ssmlab.nets.device import resolve_device
from ssmlab.params import AttackSpec, Params, Which
from ssmlab.params.paths import Paths
from ssmlab.stages.samples.sample_file import FlippedSamples, SampleHeader
from ssmlab.stages.trained_run import check_same_data

MODEL = "model"  # the only one of the runner


def flipped_samples(
    params: Params,
    run: str,
    paths: Paths,
    attack: str,
    which: Which = "best",
    count: int = 24,
    device: str | None = None,
    on_event: Listener = silence,
) -> FlippedSamples:
    """The first `count` test images that checkpoint `which` of a run has right when clean and wrong under an attack.

    Attacked are the test images of the attack's `images`, batch by batch with the seed of the stage `attack`, so that
    these are the very images behind the flags in results/ (of screened AutoAttack those of its parts before the
    screening); the search ends with the batch in which there are enough.

    Raises:
        UserError: no such run or attack, or missing, damaged or unfitting inputs.
    """
    spec = attack_named(params, attack)
    params.run(run)
    resolved = resolve_device(device or params.attack.device)
    dataset = load_dataset(paths.prepared)
    check_attacks({attack: spec}, len(dataset.test), dataset.classes, "params.yaml: attack.attacks.")
    path = paths.checkpoint(run, which)
    checkpoint = read_checkpoint(path)
    check_same_data(checkpoint.metadata, dataset, run, which)
    model = build_from(checkpoint, resolved)
    settings = params.attack
    n = len(dataset.test) if spec.images == "all" else spec.images
    x, y = to_unit(dataset.test.images[:n]), dataset.test.labels[:n]  # (N, C, H, W), (N,)
    inputs = AttackInputs({MODEL: model}, x, y, float(settings.eps), settings.seed, resolved)
    with modules_restored([model]), one_thread(resolved):
        search = FlippedSearch(inputs, attack, spec, settings.batch_size)
        while search.seen < n and len(search.rows) < count:
            search.attack_next_batch()
            on_event(Progress(f"{run}: {attack}", search.seen, n))
        flipped = len(search.rows)
        rows = torch.tensor(search.rows[:count], dtype=torch.int64)
        x_adv = torch.stack(search.x_adv[:count]) if flipped else x[:0]  # (n, C, H, W)
        clean_confidence, _ = search.predictions(x[rows])
        confidence, predicted = search.predictions(x_adv)
    header = SampleHeader(
        study=params.study,
        run=run,
        checkpoint=which,
        sha256=checkpoint.sha256,
        attack=attack,
        attack_params=spec.plain(),
        eps=float(settings.eps),
        seed=settings.seed,
        attacked=search.seen,
        right=search.right,
        flipped=flipped,
        class_names=tuple(dataset.class_names),
    )
    arrays = (rows, x[rows], x_adv, y[rows], predicted, clean_confidence, confidence)
    return FlippedSamples(header, *(array.cpu().numpy() for array in arrays))


def attack_named(params: Params, attack: str) -> AttackSpec:
    """The attack of params.yaml with this name; raises UserError that suggests one there is."""
    attacks = params.attack.attacks
    if attack not in attacks:
        raise UserError(
            f"no attack '{printable(attack, 80)}' in study {params.study} ({hint(attack, attacks, 'attacks')})"
        )
    return attacks[attack]


class FlippedSearch:
    """Attacks one batch after the other and keeps what was flipped.

    Attributes:
        seen: how many images were attacked so far. right: how many of these the model has right when clean.
        rows, x_adv: the places of the flipped images, and what flipped them: tensors (C, H, W).
    """

    def __init__(self, inputs: AttackInputs, attack: str, spec: AttackSpec, batch_size: int) -> None:
        self.inputs, self.attack, self.spec, self.batch_size = inputs, attack, spec, batch_size
        self.runner = AttackRunner(inputs)
        self.seen = self.right = 0
        self.rows: list[int] = []
        self.x_adv: list[Tensor] = []

    def attack_next_batch(self) -> None:
        """Attack those images of the next batch that the model has right."""
        x, y = self.inputs.x, self.inputs.y
        stop = min(self.seen + self.batch_size, len(x))
        logits = self.runner.logits(MODEL, x[self.seen : stop].to(self.inputs.device)).cpu()  # (B, classes)
        right = is_right(logits, y[self.seen : stop])  # (B,)
        rows = [self.seen + place for place in right.nonzero().flatten().tolist()]
        self.right += len(rows)
        if rows:
            self.keep_flipped(rows, logits.shape[1])
        self.seen = stop

    def keep_flipped(self, rows: Sequence[int], classes: int) -> None:
        """Attack images that the model has right, and keep those that it then has wrong."""
        flipped: dict[int, Tensor] = {}
        for phase in range(phases_before_screening(self.spec)):
            left = tuple(row for row in rows if row not in flipped)
            if left:
                survivors = self.runner.attack(AttackTask(MODEL, self.attack, self.spec, phase, left, classes))
                broken = (~survivors.right).nonzero().flatten().tolist()
                flipped |= {left[place]: survivors.x_adv[place].cpu() for place in broken}
        for row in sorted(flipped):
            self.rows.append(row)
            self.x_adv.append(flipped[row])

    @torch.no_grad()
    def predictions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Confidence and class of the prediction for images x (n, C, H, W): (n,) float32 and (n,) int64."""
        if not len(x):
            return torch.zeros(0), torch.zeros(0, dtype=torch.int64)
        logits = self.runner.logits(MODEL, x.to(self.inputs.device))  # (n, classes)
        confidence, predicted = logits.softmax(dim=1).max(dim=1)
        return confidence.cpu(), predicted.cpu()
