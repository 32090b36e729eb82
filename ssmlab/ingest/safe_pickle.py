"""CIFAR's pickles, read without running their code: the only objects they can make are listed here."""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_MEMO = 1 << 22  # a pickle that numbers an object higher wants the memory, not the object
MAX_TUPLES = 20  # an array takes 6; tuples of tuples as a key take 2 to their number of steps to hash
MAX_OPCODES = 1_000_000  # CIFAR-100's training file has 350,000; each takes a microsecond
MAX_ITEMS = 1_000  # opcodes that may fill one dict
MAX_AXES = 4  # of an array
CLOSING = ("APPENDS", "SETITEMS", "ADDITEMS", "TUPLE", "LIST", "DICT", "FROZENSET", "POP_MARK", "OBJ", "INST")
HASHING = ("SETITEMS", "ADDITEMS", "DICT", "FROZENSET")
MADE_TO_HARM = "it is made to fill the memory, or to take forever"


class UnsafePickle(ValueError):
    """A pickle with anything but numbers, texts, lists, dicts and arrays of bytes."""


def load_plain(content: bytes) -> Any:
    """The value in a pickle of dicts, lists, numbers, strings and uint8 arrays; Python 2's strings become str.

    Every name that such a pickle may refer to is answered by an object of ours that does no more than hold bytes;
    NumPy itself is never called on what the file says.

    Raises:
        UnsafePickle: it refers to anything else, or is no pickle.
    """
    try:
        check_opcodes(content)
        return restore_arrays(PlainUnpickler(io.BytesIO(content), encoding="latin1").load())
    except UnsafePickle:
        raise
    except Exception as error:  # a made-up pickle can raise anything
        raise UnsafePickle(f"{type(error).__name__} while it was read") from None


def check_opcodes(content: bytes) -> None:
    """Raises UnsafePickle for a pickle that would take the memory or a long time, by its opcodes alone."""
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
    """Knows only the names that a pickled uint8 array refers to, in NumPy 1 and 2."""

    def find_class(self, module: str, name: str, /) -> Any:
        """What `module.name` stands for; raises UnsafePickle if it is not one of the few."""
        # made anew for every look-up: a pickle can set attributes, and must find nothing that outlives it
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
    """The bytes that Python 3 pickled as text, for Python 2 to read."""
    if type(text) is not str or encoding != "latin1":
        raise UnsafePickle("it encodes a text in another way than bytes are")
    return text.encode("latin1")


class PickledType:
    """A NumPy dtype as a pickle tells it: only unsigned bytes are accepted."""

    __slots__ = ()

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        if not arguments or arguments[0] not in ("u1", "|u1"):
            raise UnsafePickle("it has an array of something else than unsigned bytes")

    def __setstate__(self, state: Any) -> None:
        """Byte order, alignment and the like: nothing that an unsigned byte has."""


class PickledArray:
    """A NumPy array as a pickle tells it, until it is checked."""

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
    """The value of a pickle, with the arrays at its top or right under it in place of what stood for them."""
    if isinstance(value, dict):
        return {key: restore_array(item) for key, item in value.items()}
    return restore_array(value)


def restore_array(value: Any) -> Any:
    """An array where `value` is a pickled one, else `value`."""
    return value.array if isinstance(value, PickledArray) else value
