"""CIFAR's pickles give the values that pickle itself reads; pickles with other content are refused and never run."""

from __future__ import annotations

import functools
import operator
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.ingest import safe_pickle as unpickle
from ssmlab.ingest.safe_pickle import UnsafePickle, load_plain

PIXELS = np.arange(60, dtype=np.uint8).reshape(5, 12)


def python2(value: Any, module: bytes = b"numpy.core.multiarray", order: bytes = b"\x89") -> bytes:
    """A dict of texts to lists and uint8 arrays as Python 2 and NumPy 1 pickled it: the form of the official files."""

    def text(item: str | bytes) -> bytes:
        raw = item.encode("latin1") if isinstance(item, str) else item
        return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw

    def put(item: Any) -> bytes:
        if isinstance(item, np.ndarray):
            shape = b"".join(b"M" + struct.pack("<H", length) for length in item.shape)
            kind = b"cnumpy\ndtype\n" + text("u1") + b"K\x00K\x01\x87R(K\x03" + text("|")
            kind += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            start = b"c" + module + b"\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R"
            return start + b"(K\x01(" + shape + b"t" + kind + order + text(item.tobytes()) + b"tb"
        if isinstance(item, list):
            return b"](" + b"".join(put(each) for each in item) + b"e"
        return text(item) if isinstance(item, str) else b"K" + bytes([item])

    return b"\x80\x02}(" + b"".join(text(key) + put(item) for key, item in value.items()) + b"u."


def same(found: Any, value: Any) -> None:
    assert found.keys() == value.keys()
    for key, item in value.items():
        np.testing.assert_array_equal(found[key], item)
        assert type(found[key]) is type(item)


VALUE = {"data": PIXELS, "labels": [3, 1, 4, 1, 5], "batch_label": "training batch 1 of 5"}


def test_pickles_of_the_official_form_are_read() -> None:
    official = python2(VALUE)
    same(pickle.loads(official, encoding="latin1"), VALUE)  # the form is what pickle takes it for
    same(load_plain(official), VALUE)
    assert load_plain(official)["data"].dtype == np.uint8


def test_numpy_2_module_names_are_known() -> None:
    same(load_plain(python2(VALUE, b"numpy._core.multiarray")), VALUE)


def test_arrays_in_fortran_order_are_read() -> None:
    content = python2({"data": PIXELS}, order=b"\x88")
    np.testing.assert_array_equal(load_plain(content)["data"], pickle.loads(content, encoding="latin1")["data"])


@settings(deadline=None, max_examples=25)
@given(
    labels=st.lists(st.integers(0, 99), max_size=9),
    texts=st.lists(st.text(max_size=9), max_size=4),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    protocol=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_pickles_of_today_are_read_as_pickle_reads_them(labels, texts, shape, protocol, seed) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    value = {"data": pixels, "fine_labels": labels, "fine_label_names": texts}
    same(load_plain(pickle.dumps(value, protocol)), value)


class Runs:
    """Pickled as a call of any function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call

    def __call__(self) -> None:
        """Lets `pickle` take it for a function."""


def evil_calls(mark: Path) -> dict[str, Any]:
    """Pickles that would write the file `mark`, or read a file, if they were run."""
    code = f"open({str(mark)!r}, 'w')"
    return {
        "system": Runs(os.system, f"touch {mark}"),
        "eval": Runs(eval, code),
        "exec": Runs(exec, code),
        "open": Runs(open, str(mark), "w"),
        "import": Runs(__import__, "os"),
        "getattr": Runs(getattr, Runs(__import__, "os"), "system"),
        "chain": Runs(Runs(getattr, Runs(__import__, "builtins"), "eval"), code),
        "attribute": Runs(operator.attrgetter("system"), "os"),
        "partial": Runs(functools.partial, os.system, f"touch {mark}"),
        "numpy load": Runs(np.load, str(mark)),
        "numpy fromfile": Runs(np.fromfile, "/etc/passwd", np.uint8),
        "an unpickler": Runs(pickle.loads, pickle.dumps(Runs(eval, code))),
        "array of objects": np.array([Runs(eval, code)], dtype=object),
        "nested": {"data": [Runs(eval, code)]},
        "a class": Path("x"),
        "a set": {1, 2},
        "floats": np.zeros(3),
        "other bytes": np.zeros(3, np.int8),
        "a scalar": np.uint8(3),
    }


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", evil_calls(Path("x")))
def test_objects_that_no_cifar_file_holds_are_refused_and_not_run(name: str, protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    value = evil_calls(mark)[name]
    if name == "a set" and protocol == 4:
        assert load_plain(pickle.dumps(value, 4)) == {1, 2}  # has its own opcode, and is as harmless as a list
        return
    with pytest.raises(UnsafePickle, match=r"refers to|does not hold unsigned bytes"):
        load_plain(pickle.dumps(value, protocol))
    assert not mark.exists()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


KEYS = [pickle.dumps(number * (2**61 - 1), 2)[2:-1] for number in range(2_000)]  # their hashes are all 0
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(tR"
BYTE = b"cnumpy\ndtype\n" + text("u1") + b"\x85R"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"no pickle at all", id="text"),
        pytest.param(python2(VALUE)[:-30], id="truncated"),
        pytest.param(b"\x80\x02cos\nsystem\n.", id="a name alone"),
        pytest.param(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", id="a name from the stack"),
        pytest.param(b"\x80\x04\x8c\x05numpy\x8c\x0dndarray.dumps\x93.", id="a dotted name"),
        pytest.param(b"\x80\x02cnumpy\nload\n.", id="another name of numpy"),
        pytest.param(b"(S'id'\nios\nsystem\n.", id="inst"),
        pytest.param(b"\x80\x02" + text("x") + b"Q.", id="persistent"),
        pytest.param(b"\x80\x02\x82\x01.", id="extension"),
        pytest.param(b"\x80\x02cnumpy\nndarray\n)\x81.", id="a new ndarray"),
        pytest.param(b"\x80\x02" + BYTE + b"K\x01\x85b" + BYTE + b"R.", id="a dtype called"),
        pytest.param(b"p99999999999999999999\n.", id="a number beyond all"),
        pytest.param(b"\x80\x02c_codecs\nencode\n" + text("x") + text("utf-16") + b"\x86R.", id="another encoding"),
        pytest.param(b"\x80\x02c_codecs\nencode\nK\x05K\x06\x86R.", id="numbers encoded"),
        pytest.param(b"\x80\x02" + ARRAY + b"(K\x01K\x05\x85" + BYTE + b"\x89U\x04abcdtb.", id="too few bytes"),
        pytest.param(b"\x80\x02" + ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + BYTE + b"\x89U\0tb.", id="negative"),
        pytest.param(b"\x80\x02" + ARRAY + b"(K\x01K\x04\x85N\x89U\x04abcdtb.", id="no dtype"),
        pytest.param(b"\x80\x02" + ARRAY + b"(K\x01K\x01\x85" + BYTE + b"\x89](K\x01etb.", id="a list for bytes"),
        pytest.param(b"\x80\x02" + ARRAY + b".", id="an array that never was"),
        pytest.param(b"\x80\x02" + ARRAY + b"(K\x01(" + b"K\x01" * 70 + b"t" + BYTE + b"\x89U\x01atb.", id="70 axes"),
        pytest.param(
            b"\x80\x02" + ARRAY + b"(K\x01(" + pickle.dumps(1 << 900, 2)[2:-1] + b"K\x00t" + BYTE + b"\x89U\x00tb.",
            id="an axis beyond all",
        ),
    ],
)
def test_malformed_pickles_are_refused(content: bytes) -> None:
    with pytest.raises(UnsafePickle):
        load_plain(content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x80\x02Nr\xff\xff\xff\x7f.", id="a place in a table of 32 GiB"),
        pytest.param(b"Np2147483647\n.", id="the same in text"),
        pytest.param(b"\x80\x02}(" + b"".join(key + b"N" for key in KEYS) + b"u.", id="keys with one hash"),
        pytest.param(b"\x80\x02}" + b"".join(key + b"Ns" for key in KEYS) + b".", id="the same, one by one"),
        pytest.param(b"\x80\x02" + b"N0" * 600_000 + b"N.", id="a million opcodes"),
        pytest.param(b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s.", id="a key that takes 2 to the 60 steps to hash"),
    ],
)
def test_small_pickles_of_huge_objects_are_refused_before_loading(content: bytes) -> None:
    with pytest.raises(UnsafePickle, match="too much memory or time"):
        load_plain(content)


def test_a_pickle_cannot_change_the_unpickler() -> None:
    """BUILD can set attributes of any object that a name refers to, functions included, and so change what they do."""
    setting = b"\x80\x02c_codecs\nencode\n(N}" + text("__defaults__") + b"(" + text("evil") + b"tstb."
    load_plain(setting)
    assert unpickle.encode_bytes.__defaults__ is None
    same(load_plain(pickle.dumps(VALUE, 2)), VALUE)
