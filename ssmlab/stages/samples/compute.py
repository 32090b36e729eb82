"""Finding test images that an attack flips, for `ssmlab samples`. This is not a stage of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ssmlab.artifacts.checkpoint import build_from
from ssmlab.artifacts.metadata import read_checkpoint
from ssmlab.core.blocked_paths import require_all
from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Progress, silence
from ssmlab.core.text import hint, printable
from ssmlab.data.dataset import load_dataset
from ssmlab.data.pixels import to_unit
from ssmlab.evaluation.ball import Ball
from ssmlab.evaluation.borrowed_models import modules_restored
from ssmlab.evaluation.kinds import attack_of
from ssmlab.evaluation.plan import check_attacks
from ssmlab.evaluation.tasks import AttackInputs, AttackRunner, AttackTask, one_thread
from ssmlab.evaluation.victim import is_right
from ssmlab.nets.device import resolve_device
from ssmlab.params import AttackSpec, Params, Which
from ssmlab.params.paths import Paths
from ssmlab.stages.samples.sample_file import FlippedSamples, SampleHeader
from ssmlab.stages.trained_run import check_same_data

MODEL = "model"  # the runner's only model


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
    """The first `count` test images that the checkpoint `which` of a run gets right when clean and wrong when attacked.

    The attack runs on its `images` test images, batch by batch and with the seed of the stage `attack`. So the flipped
    images are the same as in results/ (for screened AutoAttack, those of the parts before the screening). The search
    ends with the batch that completes `count`.

    Raises:
        UserError: the run or the attack does not exist, or inputs are missing, damaged or do not fit together.
    """
    spec = attack_named(params, attack)
    params.run(run)
    resolved = resolve_device(device or params.attack.device)
    path = paths.checkpoint(run, which)
    require_all(paths.prepared, path, remedy=f"run `ssmlab repro {run}`")
    dataset = load_dataset(paths.prepared)
    check_attacks({attack: spec}, len(dataset.test), dataset.classes, "params.yaml: attack.attacks.")
    checkpoint = read_checkpoint(path)
    check_same_data(checkpoint.metadata, dataset, run, which)
    model = build_from(checkpoint, resolved)
    n = len(dataset.test) if spec.images == "all" else spec.images
    x, y = to_unit(dataset.test.images[:n]), dataset.test.labels[:n]  # (N, C, H, W), (N,)
    ball = Ball(float(params.attack.eps), params.attack.norm)
    inputs = AttackInputs({MODEL: model}, x, y, ball, params.attack.seed, resolved)
    with modules_restored([model]), one_thread(resolved):
        search = FlippedSearch(inputs, attack, spec, params.attack.batch_size)
        while search.seen < n and len(search.rows) < count:
            search.attack_next_batch()
            on_event(Progress(f"{run}: {attack}", search.seen, n))
        arrays = search.arrays(count)
    header = sample_header(params.study, run, which, checkpoint.sha256, search, dataset.class_names)
    return FlippedSamples(header, *(array.cpu().numpy() for array in arrays))


def attack_named(params: Params, attack: str) -> AttackSpec:
    """The attack of params.yaml with this name; raises UserError that suggests an existing one."""
    attacks = params.attack.attacks
    if attack not in attacks:
        raise UserError(
            f"no attack '{printable(attack, 80)}' in study {params.study} ({hint(attack, attacks, 'attacks')})"
        )
    return attacks[attack]


class FlippedSearch:
    """Attacks one batch after the other and keeps what was flipped.

    Attributes:
        seen: number of images attacked so far.
        right: how many of them the model gets right when clean.
        rows, x_adv: the rows of the flipped images, and their adversarial examples (C, H, W).
    """

    def __init__(self, inputs: AttackInputs, attack: str, spec: AttackSpec, batch_size: int) -> None:
        self.inputs, self.attack, self.spec, self.batch_size = inputs, attack, spec, batch_size
        self.runner = AttackRunner(inputs)
        self.seen = self.right = 0
        self.rows: list[int] = []
        self.x_adv: list[Tensor] = []

    def attack_next_batch(self) -> None:
        """Attack those images of the next batch that the model gets right."""
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
        """Attack images that the model gets right, and keep those that it then gets wrong."""
        flipped: dict[int, Tensor] = {}
        for phase in range(attack_of(self.spec).phases_before_screening):
            left = tuple(row for row in rows if row not in flipped)
            if left:
                shape = tuple(self.inputs.x.shape[1:])
                survivors = self.runner.attack(AttackTask(MODEL, self.attack, self.spec, phase, left, classes, shape))
                broken = (~survivors.right).nonzero().flatten().tolist()
                flipped |= {left[place]: survivors.x_adv[place].cpu() for place in broken}
        for row in sorted(flipped):
            self.rows.append(row)
            self.x_adv.append(flipped[row])

    def arrays(self, count: int) -> tuple[Tensor, ...]:
        """The first `count` flipped images, in the order of the fields of `FlippedSamples` after its header."""
        x, y = self.inputs.x, self.inputs.y
        rows = torch.tensor(self.rows[:count], dtype=torch.int64)  # (n,)
        x_adv = torch.stack(self.x_adv[:count]) if self.rows else x[:0]  # (n, C, H, W)
        clean_confidence, _ = self.predictions(x[rows])
        confidence, predicted = self.predictions(x_adv)
        return rows, x[rows], x_adv, y[rows], predicted, clean_confidence, confidence

    @torch.no_grad()
    def predictions(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Confidence and class of the prediction for images x (n, C, H, W): (n,) float32 and (n,) int64."""
        if not len(x):
            return torch.zeros(0), torch.zeros(0, dtype=torch.int64)
        logits = self.runner.logits(MODEL, x.to(self.inputs.device))  # (n, classes)
        confidence, predicted = logits.softmax(dim=1).max(dim=1)
        return confidence.cpu(), predicted.cpu()


def sample_header(
    study: str, run: str, which: Which, sha256: str, search: FlippedSearch, class_names: Sequence[str]
) -> SampleHeader:
    """What was searched and found; `sha256` is the hash of the checkpoint `which`."""
    return SampleHeader(
        study=study,
        run=run,
        checkpoint=which,
        sha256=sha256,
        attack=search.attack,
        attack_params=search.spec.plain(),
        norm=search.inputs.ball.norm,
        eps=search.inputs.ball.eps,
        seed=search.inputs.seed,
        attacked=search.seen,
        right=search.right,
        flipped=len(search.rows),
        class_names=tuple(class_names),
    )
