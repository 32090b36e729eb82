"""Reading CIFAR's pickles without running their code: they can only make the objects listed here."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_MEMO = 1 << 22  # objects are numbered from 0, and a higher number would only make Python allocate a huge table
MAX_TUPLES = 20  # an array takes 6; hashing a key of n nested tuples can take 2^n steps
MAX_OPCODES = 1_000_000  # CIFAR-100's training file has 350,000; each takes a microsecond
MAX_ITEMS = 1_000  # opcodes that may fill one dict
MAX_AXES = 4  # of an array
CLOSING = ("APPENDS", "SETITEMS", "ADDITEMS", "TUPLE", "LIST", "DICT", "FROZENSET", "POP_MARK", "OBJ", "INST")
HASHING = ("SETITEMS", "ADDITEMS", "DICT", "FROZENSET")
MADE_TO_HARM = "reading it would take too much memory or time"


class UnsafePickle(ValueError):
    """A pickle that contains more than numbers, text, lists, dicts and arrays of bytes."""


def load_plain(content: bytes) -> Any:
    """The value in a pickle of dicts, lists, numbers, strings and uint8 arrays; Python 2's strings become str.

    Every name that such a pickle may refer to stands for a harmless object of ours that only holds bytes; NumPy's own
    functions are never called with arguments from the file.

    Raises:
        UnsafePickle: it refers to anything else, or is not a pickle.
    """
    try:
        check_opcodes(content)
        return restore_arrays(PlainUnpickler(io.BytesIO(content), encoding="latin1").load())
    except UnsafePickle:
        raise
    except Exception as error:  # a forged pickle can raise anything
        raise UnsafePickle(f"{type(error).__name__} while it was read") from None


def check_opcodes(content: bytes) -> None:
    """Raises UnsafePickle if the opcodes would take too much memory or time."""
    tuples = single_items = 0
    depths = [0]  # opcodes since each MARK that is not closed yet
    for opcodes, (opcode, argument, _) in enumerate(pickletools.genops(content), 1):
        name = opcode.name
        depths[-1] += 1
        tuples += name.startswith("TUPLE")
        single_items += name == "SETITEM"
        if name == "MARK":
            depths.append(0)
        elif name in CLOSING and len(depths) > 1:
            items = depths.pop()
            # keys that all have the same hash take quadratic time; a CIFAR dict has six keys, a set has none
            if name in HASHING and items > MAX_ITEMS:
                raise UnsafePickle(MADE_TO_HARM)
        too_many = tuples > MAX_TUPLES or opcodes > MAX_OPCODES or single_items > MAX_ITEMS
        if too_many or ("PUT" in name and int(argument or 0) > MAX_MEMO):
            raise UnsafePickle(MADE_TO_HARM)


class PlainUnpickler(pickle.Unpickler):
    """An unpickler that knows only the names in pickles of uint8 arrays, from NumPy 1 and 2."""

    def find_class(self, module: str, name: str, /) -> Any:
        """The harmless object for `module.name`; raises UnsafePickle for any other name."""
        # new objects for every look-up: a pickle can set attributes on them, which must not last
        answers: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy", "ndarray"): lambda: None,
            ("numpy", "dtype"): lambda *arguments: PickledType(arguments),
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: PickledArray(),
            ("numpy._core.multiarray", "_reconstruct"): lambda *_: PickledArray(),
            ("_codecs", "encode"): lambda *arguments: encode_bytes(*arguments),
        }
        if (module, name) not in answers:
            raise UnsafePickle(f"it refers to {module}.{name}")
        return answers[module, name]


def encode_bytes(text: Any, encoding: Any) -> bytes:
    """The bytes of a text: Python 3 pickles bytes as text if Python 2 should be able to read them."""
    if type(text) is not str or encoding != "latin1":
        raise UnsafePickle("it encodes bytes in an unexpected way")
    return text.encode("latin1")


class PickledType:
    """Stands for a NumPy dtype in a pickle; only unsigned bytes are accepted."""

    __slots__ = ()

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        if not arguments or arguments[0] not in ("u1", "|u1"):
            raise UnsafePickle("it has an array that does not hold unsigned bytes")

    def __setstate__(self, state: Any) -> None:
        """Ignored: byte order, alignment and the like do not matter for unsigned bytes."""


class PickledArray:
    """Stands for a NumPy array in a pickle; the array is made only after shape and bytes are checked."""

    __slots__ = ("array",)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        if type(content) is str:  # Python 2's
            content = content.encode("latin1")
        whole = type(shape) is tuple and all(type(length) is int and length >= 0 for length in shape)
        whole = whole and len(shape) <= MAX_AXES and all(length <= len(content) for length in shape)
        known = type(kind) is PickledType and type(content) is bytes
        if not whole or not known or len(content) != math.prod(shape):
            raise UnsafePickle("it has an array whose shape and bytes do not fit")
        self.array: npt.NDArray[np.uint8] = np.frombuffer(content, np.uint8).reshape(
            shape, order="F" if fortran else "C"
        )


def restore_arrays(value: Any) -> Any:
    """The value of a pickle with real arrays, at the top or one level below it, instead of `PickledArray`s."""
    if isinstance(value, dict):
        return {key: restore_array(item) for key, item in value.items()}
    return restore_array(value)


def restore_array(value: Any) -> Any:
    """An array where `value` is a pickled one, else `value`."""
    return value.array if isinstance(value, PickledArray) else value
