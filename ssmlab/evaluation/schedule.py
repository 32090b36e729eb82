"""Splits attacks into tasks, and decides which tasks follow when others are done."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from ssmlab.evaluation.kinds import attack_of
from ssmlab.evaluation.plan import check_attacks
from ssmlab.evaluation.tasks import AttackOutcome, AttackTask, Clean
from ssmlab.params import AttackSpec

Plan = Mapping[str, Mapping[str, AttackSpec]]


class Schedule:
    """The tasks of every attack, and the outcomes so far.

    A phase of an attack starts when the phase before it is done, because the outcomes of that phase decide which images
    it sees. The choice does not depend on the order in which tasks end.

    Args:
        plan: for each model, its attacks by name.
        clean: for each model, its results without an attack.
        batch_size: the largest number of images in a task.

    Attributes:
        outcomes: for each model and attack, the outcomes in the order in which they came.
        open: for each model and attack, the tasks that are not done, and for each later phase one task with the largest
            possible number of images.

    Raises:
        UserError: an attack is not defined for a model with so few classes.
    """

    def __init__(self, plan: Plan, clean: Mapping[str, Clean], batch_size: int) -> None:
        self.plan, self.clean, self.batch_size = plan, clean, batch_size
        self.outcomes: dict[tuple[str, str], list[AttackOutcome]] = {}
        self.open: dict[tuple[str, str], list[AttackTask]] = {}
        for model, attacks in plan.items():
            check_attacks(attacks, len(clean[model].right), clean[model].classes, "attacks: ")
            for attack, spec in attacks.items():
                seen = clean[model].right[: None if spec.images == "all" else spec.images]
                rows = seen.nonzero().flatten().tolist()
                self.outcomes[model, attack] = []
                self.open[model, attack] = self.tasks(model, attack, 0, rows)
                self.open[model, attack] += self.later_tasks(model, attack, 0, rows)

    def first_tasks(self) -> list[AttackTask]:
        """The tasks that can start now, longest first."""
        tasks = [task for tasks in self.open.values() for task in tasks if task.phase == 0]
        return sorted(tasks, key=lambda task: task.passes, reverse=True)

    def done(self, outcome: AttackOutcome) -> list[AttackTask]:
        """Record an outcome and return the tasks that can start now."""
        task = outcome.task
        key = task.model, task.attack
        self.outcomes[key].append(outcome)
        self.open[key].remove(task)
        if any(other.phase == task.phase for other in self.open[key]) or task.phase + 1 == len(
            attack_of(task.spec).phases
        ):
            return []
        rows = self.chosen(key, task.phase, task.spec)
        following = self.tasks(*key, task.phase + 1, rows)
        self.open[key] = following + self.later_tasks(*key, task.phase + 1, rows)
        return following

    @property
    def images_left(self) -> int:
        """The number of images in all tasks that are not done."""
        return sum(len(task.images) for tasks in self.open.values() for task in tasks)

    @property
    def passes_left(self) -> float:
        """The approximate cost of these tasks, in forward passes of one image."""
        return sum(task.passes for tasks in self.open.values() for task in tasks)

    def chosen(self, key: tuple[str, str], phase: int, spec: AttackSpec) -> list[int]:
        """The rows for the next phase: all survivors, or the survivors with the lowest margins."""
        outcomes = [outcome for outcome in self.outcomes[key] if outcome.task.phase == phase]
        limit = attack_of(spec).survivors_after(phase)
        if limit is None:
            return sorted(row for outcome in outcomes for row in outcome.right)
        pairs = (pair for outcome in outcomes for pair in zip(outcome.margins, outcome.right, strict=True))
        return sorted(row for _, row in sorted(pairs)[:limit])  # for equal margins, the first rows

    def tasks(self, model: str, attack: str, phase: int, rows: list[int]) -> list[AttackTask]:
        """Tasks with nearly equal numbers of images, at most `batch_size` each."""
        count = -(-len(rows) // self.batch_size)
        ends = [len(rows) * piece // max(count, 1) for piece in range(count + 1)]
        return [self.task(model, attack, phase, rows[start:end]) for start, end in pairwise(ends)]

    def later_tasks(self, model: str, attack: str, phase: int, rows: list[int]) -> list[AttackTask]:
        """One task for each phase after this one, with the largest possible number of images."""
        spec, tasks = self.plan[model][attack], []
        for later in range(phase + 1, len(attack_of(spec).phases) if rows else 0):
            rows = rows[: attack_of(spec).survivors_after(later - 1)]
            tasks.append(self.task(model, attack, later, rows))
        return tasks

    def task(self, model: str, attack: str, phase: int, rows: list[int]) -> AttackTask:
        clean = self.clean[model]
        return AttackTask(model, attack, self.plan[model][attack], phase, tuple(rows), clean.classes, clean.image_shape)
