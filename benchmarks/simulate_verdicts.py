"""How often verdicts on two models are wrong if the models are equal, and correct if they differ.

`python benchmarks/simulate_verdicts.py [REPEATS]` prints the table of docs/seeds.md. The accuracy of a training is 70%
plus a normal deviation of the seeds; an image is right if its difficulty, 70% of whose variance all trainings share, is
below the training's threshold.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import norm

from ssmlab.analysis.intervals import Difference
from ssmlab.analysis.seeds import Flags, over_images, over_seeds

SHARED = 0.7  # of an image's difficulty, between all trainings

Judge = Callable[[Sequence[Flags], Sequence[Flags]], Difference]
Pair = tuple[int, int]


def trainings(
    rng: np.random.Generator, difficulty: np.ndarray, seeds: int, accuracy: float, seed_sd: float
) -> list[Flags]:
    """The flags of one model's trainings."""
    accuracies = np.clip(accuracy + rng.normal(0.0, seed_sd, seeds), 0.01, 0.99)
    own = rng.normal(size=(seeds, len(difficulty)))
    right = np.sqrt(SHARED) * difficulty + np.sqrt(1 - SHARED) * own < norm.ppf(accuracies)[:, None]
    return [("".join(map(str, row)),) for row in right.astype(int)]


def settled_rate(
    judge: Judge, seeds: Pair, images: int, seed_sd: tuple[float, float], gain: float, repeats: int, seed: int = 0
) -> float:
    """How often the first model, better by `gain`, is judged to be better or, where the gain is 0, different.

    `seeds` and `seed_sd` are the number of trainings and their standard deviation, of either model.
    """
    rng, hits = np.random.default_rng(seed), 0
    for _ in range(repeats):
        difficulty = rng.normal(size=images)
        a = trainings(rng, difficulty, seeds[0], 0.7 + gain, seed_sd[0])
        b = trainings(rng, difficulty, seeds[1], 0.7, seed_sd[1])
        found = judge(a, b)
        hits += found.low > 0.0 or (gain == 0.0 and found.high < 0.0)
    return hits / repeats


def by_seeds(a: Sequence[Flags], b: Sequence[Flags]) -> Difference:
    return over_seeds(a, b, 0.95)


def by_images(a: Sequence[Flags], b: Sequence[Flags]) -> Difference:
    return over_images(a[0], b[0], 0.95)


def main(repeats: int) -> None:
    print("| seeds | images | sd of seeds | false verdicts | found, +5 points |")
    print("|--:|--:|--:|--:|--:|")
    alike, unlike = [(0.0, 0.0), (0.01, 0.01), (0.03, 0.03)], [(0.08, 0.01), (0.01, 0.08)]
    for seeds in ((1, 1), (3, 3), (5, 5), (5, 3)):
        judge = by_images if seeds == (1, 1) else by_seeds
        for images in (100, 1000):
            for seed_sd in [*alike, *unlike[: len(set(seeds)) if seeds != (1, 1) else 0]]:
                size, power = (settled_rate(judge, seeds, images, seed_sd, gain, repeats) for gain in (0.0, 0.05))
                numbers = both(seeds), str(images), both([100 * each for each in seed_sd])
                print(f"| {' | '.join(numbers)} | {size:.1%} | {power:.1%} |", flush=True)


def both(pair: Sequence[float]) -> str:
    """`3`, or `5 and 3` if the two differ."""
    return " and ".join(f"{each:g}" for each in dict.fromkeys(pair))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
