"""Reading params.yaml: the studies that come with ssmlab are read; a file that is none is refused in one line."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ssmlab.core.errors import UserError
from ssmlab.params import Params
from ssmlab.project.expand import expanded_params_yaml
from ssmlab.project.params_file import load_params, merged, parse_params
from tests.params.smoke import changed

PROJECT = Path(__file__).resolve().parents[2]
STUDIES = sorted((PROJECT / "studies").glob("*.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_valid_and_named_as_its_file(path: Path) -> None:
    params = load_params(path)
    assert params.study == path.stem
    assert Params.model_validate(params.plain()) == params
    assert params.runs


def test_the_default_study_is_in_use() -> None:
    assert (PROJECT / "params.yaml").read_bytes() == expanded_params_yaml(PROJECT / "studies" / "mnist5k.yaml")


def test_the_default_study_is_that_of_the_documentation() -> None:
    params = load_params(PROJECT / "params.yaml")
    seeds = {name: len(runs) for name, runs in params.groups.items()}
    assert seeds == {"ssm": 5, "ssm-gelu": 3, "ssm-glu": 3, "attention": 3, "ads": 3, "ssm-standard": 3}
    assert {name: params.run(runs[0]).train.epochs for name, runs in params.groups.items()} == {
        **dict.fromkeys(("ssm", "ssm-gelu", "ssm-glu", "ads"), 16),
        "attention": 24,
        "ssm-standard": 10,
    }
    assert params.attack.attacks["screened-aa"].kind == "screened-autoattack"
    published = load_params(PROJECT / "studies" / "mnist5k-published.yaml").attack.attacks["autoattack"]
    assert (published.kind, published.steps, published.queries) == ("autoattack", 100, 5000)


def test_a_runs_changes_are_merged_into_the_shared_sections() -> None:
    changes = {"epochs": 7, "adversary": {"eps": "1/4"}, "selection": {"by": "clean"}}
    params = parse_params(changed(("runs.ads.train", changes)), "x")
    own, shared = params.run("ads").train, params.run("ssm").train
    assert (own.epochs, own.adversary.eps, own.selection.by) == (7, 0.25, "clean")
    assert own.adversary.alpha == shared.adversary.alpha
    assert own.selection.split == shared.selection.split
    assert (shared.epochs, shared.adversary.eps, shared.selection.by) == (2, 0.1, "robust")
    assert params.run("ads").model.ads is not None
    assert params.run("ssm").model.ads is None


def test_merging_changes_neither_of_the_two_mappings() -> None:
    base, change = {"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 5}, "e": {"f": 1}}
    copies = copy.deepcopy((base, change))
    assert merged(base, change) == {"a": {"b": 5, "c": [1]}, "d": 2, "e": {"f": 1}}
    assert (base, change) == copies
    assert merged(base, {"a": 3}) == {"a": 3, "d": 2}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a: [1, 2", id="open bracket"),
        pytest.param(b"a: b: c", id="nested mapping"),
        pytest.param(b"study: x\nstudy: y\n", id="a key twice"),
        pytest.param(b"\ta: 1", id="tab"),
        pytest.param(b"a: *b", id="unknown alias"),
        pytest.param(b"a: 1\n---\nb: 2\n", id="two documents"),
        pytest.param(b"a: !!python/object:os.system x", id="a tag"),
        pytest.param(b"\x80\x81", id="not text"),
        pytest.param(b"a: \x00", id="control character"),
        pytest.param(b"", id="empty"),
        pytest.param(b"# nothing\n", id="a comment"),
        pytest.param(b"- a\n- b\n", id="a list"),
        pytest.param(b"just text", id="text"),
        pytest.param(b"study: 2024-01-01", id="a date"),
        pytest.param(b"study: 2024-13-45", id="no date"),
        pytest.param(b"study: .inf", id="infinite"),
        pytest.param(b"study: .nan", id="no number"),
        pytest.param(b'study: "\\ud800"', id="surrogate"),
        pytest.param(b"study: &a [*a]", id="contains itself"),
        pytest.param(b"study: &a {b: *a}", id="a mapping that contains itself"),
        pytest.param(b"study: " + b"[" * 1200 + b"]" * 1200, id="1,200 brackets"),
        pytest.param(b"study: " + b"{a: " * 1200 + b"}" * 1200, id="1,200 braces"),
        pytest.param(b"? [a, b]\n: c", id="a list as key"),
        pytest.param(b"study: !!set {a, b}", id="a set"),
        pytest.param(b"study: !!binary aGk=", id="binary"),
        pytest.param(b"study: 1" + b"0" * 5000, id="5,000 digits"),
        pytest.param(b"study: !!timestamp x", id="a tag that does not fit"),
        pytest.param(b"study: !!int x", id="no number by tag"),
        pytest.param(
            b"a: &a [1, 1]\n" + b"".join(b"%c: &%c [*%c, *%c]\n" % (n, n, n - 1, n - 1) for n in range(98, 123)),
            id="nested anchors",
        ),
    ],
)
def test_a_file_that_is_not_a_study_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_params(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500 + len(str(path))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        load_params(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match=str(tmp_path)):
        load_params(tmp_path)


def test_a_file_that_is_not_utf_8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes("study: x\ntitle: ü\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"params\.yaml: line 2 is not UTF-8 text; save the file as UTF-8"):
        load_params(path)


def test_the_line_of_a_syntax_error_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("study: x\nmodel:\n  patch: 4\n   layers: 2\n")
    with pytest.raises(UserError, match="line 4"):
        load_params(path)


def test_errors_name_the_file_they_come_from(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(changed(("train.epochs", 0)), file)
    with pytest.raises(UserError, match=r"odd\.yaml: train\.epochs: "):
        load_params(path)


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("1e-3", 1e-3), ("0.1", 0.1), ("1", 1.0), (".5", 0.5)])
def test_numbers_are_read_in_every_form_that_people_write(text: str, value: float, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text((PROJECT / "studies" / "smoke.yaml").read_text().replace("eps: 0.1\n", f"eps: {text}\n"))
    assert load_params(path).attack.eps == value
