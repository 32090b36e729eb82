"""The fingerprint of a prepared data set's content. It does not depend on how the file was written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence


def fingerprint(tensors: Iterable[tuple[str, str, Sequence[int], Iterable[bytes | memoryview]]]) -> str:
    """SHA-256 over name, dtype, shape and little-endian bytes of every tensor in order.

    Args:
        tensors: name (`train.images`), torch's name of the dtype (`torch.uint8`), shape, and the elements in row-major
            order in pieces of any size.
    """
    digest = hashlib.sha256()
    for name, dtype, shape, pieces in tensors:
        digest.update(f"{name} {dtype} {list(shape)}\n".encode())
        for piece in pieces:
            digest.update(piece)
    return digest.hexdigest()
