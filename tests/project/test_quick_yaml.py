"""Ordinary YAML read by libyaml has the value that ruamel.yaml gives it, and everything else is left to ruamel.yaml."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmlab.project.params_file import any_yaml, plain_yaml
from ssmlab.project.quick_yaml import NotOrdinaryError, quick_yaml

PROJECT = Path(__file__).resolve().parents[2]
STUDIES = sorted(PROJECT.glob("studies/*.yaml"))

ATOMS = st.sampled_from(
    [
        *(
            "true",
            "True",
            "yes",
            "on",
            "null",
            "~",
            "",
            "0",
            "-0",
            "+7",
            "010",
            "0x1f",
            "0o17",
            "0b11",
            "1_000",
            "1e-3",
        ),
        *(
            "1.5",
            ".5",
            "5.",
            "1.e3",
            "1e+3",
            "-.inf",
            ".nan",
            "8/255",
            "-8/255",
            "2026-11-27",
            "12:30",
            "ro_gap:pgd-10",
        ),
        *(
            "60 epochs are more than 10",
            "2026-11-27 ab",
            "2001-12-14 21:59:43 Z",
            "a b",
            "<<",
            "=",
            "'1'",
            '"true"',
            "'it''s'",
            '"\\u00e9"',
            "é",
            "!!str 1",
            "&x 1",
            "*x",
            "|\n   text",
            "# no",
        ),
        *(
            "a:b",
            "a: b",
            "[1, 2]",
            "{a: 1}",
            "{a:1}",
            "- 1",
            "@",
            "`",
            "%TAG",
            "\t",
            "?",
            "1 2",
            "1.2.3",
            "E5",
            ".",
            "-",
        ),
    ]
)
LINES = st.builds("{}{}: {}".format, st.sampled_from(["", "  ", "    "]), ATOMS, ATOMS)
TEXTS = st.one_of(
    st.lists(LINES, max_size=5).map("\n".join),
    st.builds("[{}, {}]".format, ATOMS, ATOMS),
    st.builds("{{{}: {}, b: {}}}".format, ATOMS, ATOMS, ATOMS),
    st.lists(ATOMS, max_size=5).map(lambda items: "\n".join(f"- {item}" for item in items)),
    st.text(alphabet="ab1.:- \n[]{},'\"#~/e\r\t\x85", max_size=12),
)


@given(TEXTS)
def test_both_yaml_readers_give_one_value(text: str) -> None:
    with suppress(NotOrdinaryError):
        quick = quick_yaml(text)
        assert repr(quick) == repr(any_yaml(text))  # repr: 1 and 1.0 and True differ


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_has_the_value_that_ruamel_gives_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert plain_yaml(text) == any_yaml(text)


def test_every_study_is_ordinary_yaml() -> None:
    ordinary = 0
    for path in STUDIES:
        with suppress(NotOrdinaryError):
            quick_yaml(path.read_text(encoding="utf-8"))
            ordinary += 1
    assert ordinary == len(STUDIES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: on", {"a": "on"}),  # true in YAML 1.1
        ("a: 1e-3", {"a": 0.001}),  # text in YAML 1.1
        ("a: 010", {"a": 10}),  # 8 in YAML 1.1
        ("a: 12:30", {"a": "12:30"}),  # 750 in YAML 1.1
        ("a: 0x1f", {"a": 31}),
        ("b: &x [1]\na: *x", {"b": [1], "a": [1]}),
        ("eps: 8/255", {"eps": "8/255"}),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    assert plain_yaml(text) == value


@pytest.mark.parametrize("text", ["a: 1\na: 2", "a: [1", "--- 1\n--- 2", "a: 2026-11-27", "[" * 100 + "]" * 100])
def test_unusual_yaml_is_left_to_ruamel(text: str) -> None:
    with pytest.raises(NotOrdinaryError):
        quick_yaml(text)


def test_an_ordinary_study_needs_no_ruamel() -> None:
    code = (
        "import sys; from pathlib import Path; from ssmlab.project.params_file import load_params; "
        f"load_params(Path({str(PROJECT / 'studies' / 'smoke.yaml')!r})); print('ruamel.yaml' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_without_libyaml_a_study_is_read_by_ruamel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml.cyaml", None)
    assert plain_yaml("a: 1") == {"a": 1}
