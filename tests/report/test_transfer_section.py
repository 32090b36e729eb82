"""The report's section on transfer between the runs: the matrix, the warning, and what it says of an old one."""

from __future__ import annotations

from ssmlab.analysis.summarize import summarize
from ssmlab.analysis.summary import Summary
from ssmlab.evaluation.transfer_results import TransferResults, transfer_checks, transfer_of
from ssmlab.params import Params
from ssmlab.report.blocks import Caution, Folded, Paragraph, Picture
from ssmlab.report.figure_style import LIGHT
from ssmlab.report.table import TextTable
from ssmlab.report.transfer_section import transfer_map, transfer_section
from ssmlab.report.transfer_tables import transfer_rows, transfer_table
from tests.analysis.synthetic import data_summary, nested_flags, results, seeded_params
from tests.evaluation.test_transfer import results as example


def summary_of(params: Params) -> Summary:
    flags = nested_flags(20, dict.fromkeys(("clean", *params.attack.attacks), 0.9), 0)
    found = [results(params, run, flags) for run in params.runs]
    return summarize(params.study, found, params.analyze.model_copy(update={"claims": ()}), data_summary())


def transfers(summary: Summary, broken: dict[tuple[str, str], int]) -> TransferResults:
    """Every run is right on 20 images; for each pair, the given number of them is broken (5 by default)."""
    runs = [run.name for run in summary.runs]
    clean = dict.fromkeys(runs, "1" * 20)
    found = tuple(
        transfer_of(source, target, clean[target], ("0" * n + "1" * 20)[:20])
        for source in runs
        for target in runs
        for n in (broken.get((source, target), 5),)
    )
    withstood = {run: found[len(runs) * place + place].flags for place, run in enumerate(runs)}  # no second look
    plain = example()
    return plain.model_copy(
        update={
            "data": plain.data.model_copy(update={"n": 20}),
            "checkpoints": {run.name: run.checkpoints["best"].sha256 for run in summary.runs},
            "clean": clean,
            "transfers": found,
            "withstood": withstood,
            "checks": transfer_checks(withstood, found, "fgsm"),
        }
    )


def test_there_is_no_section_without_transfer_results(tiny_params: Params) -> None:
    assert list(transfer_section(summary_of(tiny_params), None)) == []


def test_the_matrix_is_a_picture_and_a_table_with_a_row_a_target(tiny_params: Params) -> None:
    summary = summary_of(tiny_params)
    blocks = list(transfer_section(summary, transfers(summary, {("ssm", "ads"): 2, ("ads", "ads"): 8})))
    (picture,) = (block for block in blocks if isinstance(block, Picture))
    assert set(picture.files) >= {".png", ".svg"}
    assert "ads 40.0% by its own attack, 25.0% by the attack on attention" in picture.alt
    (table,) = (block for block in blocks if isinstance(block, TextTable))
    rows = {row[0]: row for row in table.rows}
    assert list(rows) == ["ssm", "attention", "ads"]
    assert rows["ads"] == ("ads", "20", "40.0", "10.0", "25.0", "-", "0", "-")
    assert not any(isinstance(block, Caution) for block in blocks)


def test_the_picture_has_a_row_for_every_target_and_its_own_attack_in_front(tiny_params: Params) -> None:
    summary = summary_of(tiny_params)
    found = transfers(summary, {("ssm", "ads"): 2, ("ads", "ads"): 8})
    axes = transfer_map(found, {name: (name,) for name in found.runs}, LIGHT).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ssm", "attention", "ads"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["itself", "ssm", "attention", "ads"]
    shown = axes.images[0].get_array()
    assert shown is not None
    assert [text.get_text() for text in axes.texts] == ["25", "25", "25", "25", "25", "25", "40", "10", "25"]
    assert shown.filled(-1.0).tolist() == [[0.25, -1.0, 0.25, 0.25], [0.25, 0.25, -1.0, 0.25], [0.4, 0.1, 0.25, -1.0]]


def test_images_beyond_the_own_attacks_are_those_that_the_run_withstood(tiny_params: Params) -> None:
    """One source breaks 9 images, of which the run's own attack breaks 5. A group shows its worst run."""
    summary = summary_of(seeded_params(tiny_params))
    found = transfers(summary, {("ssm-pgd-s0", "ads-pgd-s1"): 9})
    rows = {(row["source"], row["target"]): row for row in transfer_rows(found)}
    row = rows["ssm-pgd-s0", "ads-pgd-s1"]
    assert (row["right"], row["broken"], row["share"], row["not_by_itself"]) == (20, 9, 0.45, 4)
    assert rows["ads-pgd-s1", "ads-pgd-s1"]["not_by_itself"] == 0
    table = transfer_table(found, {group.name: group.runs for group in summary.groups})
    by_target = {each[0]: each[-2:] for each in table.rows}
    assert by_target["ads-pgd"] == ("4", "masked? ads-pgd-s1")
    assert by_target["ssm-pgd"] == ("0", "-")


def test_a_warning_names_a_run_that_images_of_another_run_break_where_its_own_attacks_fail(tiny_params: Params) -> None:
    summary = summary_of(tiny_params)
    blocks = list(transfer_section(summary, transfers(summary, {("ssm", "ads"): 9})))
    (caution,) = (block for block in blocks if isinstance(block, Caution))
    assert caution.text == (
        "fgsm on ssm breaks 4 of 20 images for ads that neither fgsm nor PGD-50 on ads itself breaks: its gradients "
        "may be masked."
    )


def test_results_of_another_checkpoint_are_called_stale_and_left_out(tiny_params: Params) -> None:
    summary = summary_of(tiny_params)
    found = transfers(summary, {})
    old = found.model_copy(update={"checkpoints": found.checkpoints | {"ads": "9" * 64}})
    blocks = list(transfer_section(summary, old))
    assert [type(block).__name__ for block in blocks] == ["Heading", "Caution"]
    assert isinstance(blocks[1], Caution) and "they belong to other checkpoints of ads." in blocks[1].text


def test_seeds_are_shown_as_groups_and_every_run_is_folded_away(tiny_params: Params) -> None:
    summary = summary_of(seeded_params(tiny_params))
    blocks = list(transfer_section(summary, transfers(summary, {})))
    (table,) = (block for block in blocks if isinstance(block, TextTable))
    assert [row[0] for row in table.rows] == [group.name for group in summary.groups]
    (folded,) = (block for block in blocks if isinstance(block, Folded))
    assert "run" in folded.title
    assert any(isinstance(block, Paragraph) for block in blocks)
