"""Test images that an attack has flipped, and the .npz file that holds them. Nothing here imports torch."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic

FORMAT = 2
Floats = npt.NDArray[np.float32]
IntegerArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SampleHeader:
    """The origin of the images in a file.

    Attributes:
        study, run, checkpoint: the attacked model; checkpoint is `best` or `last`, with its hash in `sha256`.
        attack: the name of the attack in params.yaml.
        attack_params: the settings of the attack.
        norm, eps: the ball; eps is a number.
        attacked: how many images were searched, from the first test image on.
        right: how many of them the model gets right when clean.
        flipped: how many of these the attack has flipped; the file may hold fewer.
        class_names: in the order of the labels.
    """

    study: str
    run: str
    checkpoint: str
    sha256: str
    attack: str
    attack_params: dict[str, Any]
    norm: str
    eps: float
    seed: int
    attacked: int
    right: int
    flipped: int
    class_names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class FlippedSamples:
    """Test images that the model gets right when clean and wrong after the attack.

    Attributes:
        rows: (N,) int64, their places in the test split.
        clean, adversarial: (N, C, H, W) float32 in [0, 1].
        labels, predicted: (N,) int64: the true class, which is also the one predicted when clean, and the one predicted
            after the attack.
        clean_confidence, confidence: (N,) float32 in [0, 1], the softmax probabilities of these two predictions.
    """

    header: SampleHeader
    rows: IntegerArray
    clean: Floats
    adversarial: Floats
    labels: IntegerArray
    predicted: IntegerArray
    clean_confidence: Floats
    confidence: Floats

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def largest_change(self) -> float:
        """The largest change of one pixel: eps in L-inf; in L2, the largest that these images have."""
        if self.header.norm == "linf" or not len(self):
            return self.header.eps
        return float(np.abs(self.adversarial - self.clean).max())


ARRAYS = tuple(field.name for field in fields(FlippedSamples) if field.name != "header")


def save_samples(path: Path, samples: FlippedSamples) -> None:
    """Write samples to one .npz file, atomically; raises UserError if that is not possible."""
    header = json.dumps({"format": FORMAT, **asdict(samples.header)}, ensure_ascii=False)
    buffer = io.BytesIO()
    arrays = {name: getattr(samples, name) for name in ARRAYS}
    np.savez_compressed(buffer, header=np.array(header), **arrays)
    write_atomic(path, buffer.getvalue(), durable=False)


def load_samples(path: Path) -> FlippedSamples:
    """Read what `save_samples` has written; raises UserError for anything else."""
    remedy = f"{path}: not a file of samples of this version; write it again with `ssmlab samples`"
    try:
        with np.load(path, allow_pickle=False) as file:
            value = json.loads(str(file["header"]))
            arrays = {name: file[name] for name in ARRAYS}
        if value.pop("format") != FORMAT:
            raise UserError(remedy)
        header = SampleHeader(**{**value, "class_names": tuple(value["class_names"])})
        samples = FlippedSamples(header, **arrays)
        n = len(samples.rows)
        whole = samples.clean.shape == samples.adversarial.shape and samples.clean.ndim == 4
        if not whole or any(len(array) != n for array in arrays.values()):
            raise UserError(remedy)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile):
        raise UserError(remedy) from None
    return samples
