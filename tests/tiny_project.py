"""A project that goes through every stage in seconds: 40 images of four stripes, one layer, two epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

STUDY, RUN = "tiny", "ssm"

PARAMS = """
study: tiny
data: {name: mine, source: mine.npz, train: all, validation: 10, test: all, seed: %(seed)d}
model: {mixer: s4, enhancement: none, tokens: raster, patch: 14, d_model: 4, d_state: 4, layers: 1, pointwise: none,
  output: linear, dropout: 0.0}
train:
  device: cpu
  regime: pgd_at
  epochs: 2
  batch_size: 40
  adversary: {eps: 0.1, alpha: 0.1, steps: 1, random_start: true}
  warmup: 0
  optimizer: {lr: 5.0e-3, ssm_lr: 1.0e-3, weight_decay: 2.0e-4, schedule: cosine}
  selection: {split: validation, by: robust, adversary: {eps: 0.1, alpha: 0.1, steps: 1, random_start: true}}
  augment: {crop: 0, flip: false}
  seed: %(seed)d
runs: {ssm: {}}
attack:
  device: cpu
  eps: 0.1
  batch_size: 25
  seed: 0
  attacks:
    fgsm: {kind: fgsm, images: 10, checkpoints: [best, last]}
probe:
  device: cpu
  images: 10
  adversary: {eps: 0.1, alpha: 0.1, steps: 1, random_start: true}
  seed: 0
analyze: {confidence: 0.95, claims: []}
report: {title: "Tiny, seed %(seed)d"}
"""


def save_images(folder: Path) -> None:
    """Write `mine.npz`, the data of the study: the class is where a bright stripe lies."""
    draw = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, n in (("train", 40), ("val", 10), ("test", 20)):
        labels = (np.arange(n) % 4).astype(np.uint8)
        images = draw.integers(0, 60, (n, 28, 28)).astype(np.uint8)  # (n, 28, 28)
        for image, label in zip(images, labels, strict=True):
            image[:, 7 * label : 7 * label + 7] += 150
        arrays |= {f"{part}_images": images, f"{part}_labels": labels[:, None]}
    np.savez(folder / "mine.npz", **arrays)


def make_tiny_project(folder: Path, seed: int = 0) -> None:
    """The study and its data in an existing folder; no stage has run yet."""
    save_images(folder)
    (folder / "params.yaml").write_text(PARAMS % {"seed": seed})
