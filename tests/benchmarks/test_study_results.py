"""The table of docs/findings.md, from numbers made up by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pandas import DataFrame

from benchmarks.study_results import (
    accuracies,
    best_first,
    curve_figure,
    curves,
    dot_figure,
    labelled,
    main,
    table,
    verdict_table,
    verdicts,
)


def test_the_table_has_mean_and_deviation_over_the_seeds_of_each_group_and_label() -> None:
    rows = [
        ("noisy", "ads", 0, "best", "pgd", 70.0),
        ("noisy", "ads", 1, "best", "pgd", 74.0),
        ("clean", "ads", 0, "best", "pgd", 90.0),
        ("noisy", "ads", 0, "last", "pgd", 60.0),
        ("noisy", "ads", 1, "last", "pgd", 60.0),
        ("noisy", "ads", 1, "first", "clean", 61.0),  # no attack on this checkpoint, so no column
    ]
    frame = DataFrame(rows, columns=["label", "group", "seed", "checkpoint", "attack", "accuracy"])
    assert table(frame).splitlines() == [
        "| model | seeds | pgd, best | pgd, last |",
        "|---|--:|--:|--:|",
        "| `ads, noisy` | 2 | 72.0 ± 2.8 | 60.0 ± 0.0 |",
        "| `ads, clean` | 1 | 90.0 | - |",
    ]


def test_a_project_may_have_a_label() -> None:
    assert labelled("20% wrong=folder/a") == ("20% wrong", Path("folder/a"))
    assert labelled("folder") == ("", Path("folder"))


def test_accuracies_of_an_earlier_file_are_kept_under_their_label(tmp_path: Path) -> None:
    columns = ["label", "group", "seed", "checkpoint", "attack", "n", "accuracy"]
    rows = [("", "ads", 0, "best", "pgd", 100, 70.0), ("", "gelu", 0, "best", "pgd", 100, 80.0)]
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"accuracies": DataFrame(rows, columns=columns).to_dict("records")}))
    frame = best_first(accuracies("any", [("old", file), ("new", file)]), "pgd")
    assert list(zip(frame["group"], frame["label"], strict=True)) == [
        ("gelu", "old"),
        ("gelu", "new"),
        ("ads", "old"),
        ("ads", "new"),
    ]
    names = [label.get_text() for label in dot_figure(frame, "pgd").axes[0].get_yticklabels()]
    assert names == ["ads, new", "ads, old", "gelu, new", "gelu, old"]


def test_verdicts_are_those_of_every_project_that_was_analysed(tmp_path: Path) -> None:
    difference = {"value": 0.1234, "low": -0.02, "high": 0.2, "n": 100, "p": 0.1}
    settled = {"says": "A beats B", "run": "a", "than": "b", "verdict": "supported", "adjusted_p": 0.0004}
    settled["evidence"] = [{"measure": "pgd", "run": 0.9, "than": 0.8, "difference": difference}]
    untestable = {"says": "A beats C", "run": "a", "than": "c", "verdict": "not testable", "reasons": ["c is broken"]}
    untestable["evidence"] = [{"measure": "pgd", "run": 0.9, "than": 0.1}]
    folder = tmp_path / "new" / "results" / "any" / "analysis"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"claims": [settled, untestable]}))
    found = verdicts("any", [("", tmp_path / "never analysed"), ("new", tmp_path / "new")])
    assert [claim["reasons"] for claim in found] == [[], ["c is broken"]]
    assert verdict_table(found).splitlines() == [
        "| claim | verdict | corrected p | pgd |",
        "|---|---|--:|--:|",
        "| A beats B, new | supported | < 0.001 | +12.3 (-2.0 to +20.0) |",
        "| A beats C, new | not testable | - | - |",
    ]


def committed(folder: Path) -> Path:
    """A results.json by hand, with its params.yaml: two models under two labels, one of them with both."""
    place = {"seed": 0, "checkpoint": "best", "attack": "pgd", "n": 100}
    runs = [("noisy", "ads", 1.0), ("noisy", "mega", 2.0), ("clean", "ads", 3.0)]
    found = {
        "accuracies": [{"label": label, "group": name, **place, "accuracy": 60.0 + x} for label, name, x in runs],
        "curves": [
            {"label": label, "run": f"{name}-s{seed}", "epoch": [1, 5], "val_robust": [x, x + 8 * seed]}
            | {"train_eval_robust": [x, x]}
            for label, name, x in runs
            for seed in (0, 1)
        ],
        "claims": [{"label": "noisy", "says": "A", "verdict": "supported", "adjusted_p": 0.01, "differences": {}}],
    }
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text("study: any\n")
    (folder / "results.json").write_text(json.dumps(found))
    return folder / "results.json"


def test_curves_are_means_over_seeds_with_a_panel_per_label_and_one_colour_for_a_model(tmp_path: Path) -> None:
    figure = curve_figure(curves("any", [("", committed(tmp_path / "old"))]))
    noisy, clean = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["noisy", "clean"]
    drawn = [list(line.get_ydata()) for line in noisy.lines]
    assert drawn == [[1.0, 5.0], [1.0, 1.0], [2.0, 6.0], [2.0, 2.0]]
    assert clean.lines[0].get_color() == noisy.lines[0].get_color() != noisy.lines[2].get_color()
    legend = clean.get_legend()
    assert legend and [text.get_text() for text in legend.get_texts()] == ["ads", "mega"]


@pytest.mark.parametrize("kind", [[], ["--curves"]])
def test_committed_results_give_themselves_and_the_same_figure_again(
    kind: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / "images").mkdir(parents=True)
    file = committed(tmp_path / "studies" / "results" / "any")
    before = json.loads(file.read_text())
    if not kind:
        del before["curves"]
    seen = []
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["study_results.py", "any", str(file), "--measure", "pgd", *kind])
        main()
        after = json.loads(file.read_text())
        assert {name: sorted(map(str, entries)) for name, entries in after.items()} == {
            name: sorted(map(str, entries)) for name, entries in before.items()
        }
        seen.append((file.read_bytes(), (tmp_path / "docs" / "images" / "findings-any.svg").read_bytes()))
    assert seen[0] == seen[1]
    assert b"<dc:date>" not in seen[0][1]
