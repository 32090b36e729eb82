"""The report's section on the probes: what it says, what it leaves out, and that it is not there without probes."""

from __future__ import annotations

import pytest

from ssmlab.analysis.summarize import summarize
from ssmlab.analysis.summary import Summary
from ssmlab.params import Params
from ssmlab.probes.probe import probe_model
from ssmlab.probes.results import CheckpointProbes, Growth, GrowthFit, ProbeResults
from ssmlab.report.blocks import Block, Caution, Folded, Paragraph, Picture
from ssmlab.report.probe_section import probe_section
from tests.analysis.synthetic import data_summary, nested_flags, results
from tests.probes.models import labelled_images, model_of, params_of

ADS = {"enhancement": "ads", "ads": {"act": "relu", "parts": "both"}}
MEGA = {"mixer": "mega", "mega": {"z": 4, "hidden": 8, "ffn": 8, "ema": 2}}
MODELS: dict[str, dict[str, object]] = {"ssm": {"norm": "none"}, "attention": MEGA, "ads": ADS}


@pytest.fixture
def summary(tiny_params: Params) -> Summary:
    flags = nested_flags(20, dict.fromkeys(("clean", *tiny_params.attack.attacks), 0.9), 0)
    found = [results(tiny_params, run, flags) for run in tiny_params.runs]
    return summarize(tiny_params.study, found, tiny_params.analyze.model_copy(update={"claims": ()}), data_summary())


@pytest.fixture
def probes(tiny_params: Params, summary: Summary) -> dict[str, ProbeResults]:
    return {run.name: probed(tiny_params, run.name, run.checkpoints["best"].sha256) for run in summary.runs}


def probed(params: Params, run: str, sha256: str) -> ProbeResults:
    model = model_of(**MODELS[run])
    images = {"train": labelled_images(model, 6), "test": labelled_images(model, 6)}
    found = probe_model(model, params_of(**MODELS[run]), images, params.probe, sha256, 1)
    return ProbeResults(
        format=1,
        study=params.study,
        run=run,
        model={},
        train={},
        data_fingerprint="0",
        probe=params.probe,
        images={"train": 6, "test": 6},
        code_version="0",
        checkpoints={"best": found, "last": found},
    )


def with_best(results: ProbeResults, **changes: object) -> ProbeResults:
    best: CheckpointProbes = results.checkpoints["best"].model_copy(update=changes)
    return results.model_copy(update={"checkpoints": {**results.checkpoints, "best": best}})


def text_of(blocks: list[Block]) -> str:
    return " ".join(block.text for block in blocks if isinstance(block, (Paragraph, Caution)))


def test_every_probe_has_a_sentence_and_a_picture(summary: Summary, probes: dict[str, ProbeResults]) -> None:
    blocks = list(probe_section(summary, probes))
    assert [block.name for block in blocks if isinstance(block, Picture)] == [
        "probe-ladder",
        "probe-tightness",
        "probe-growth",
    ]
    text = text_of(blocks)
    total = next(each for each in probes["ads"].checkpoints["best"].ladders if each.split == "test").total
    assert f"ads x{total:.2f}" in text
    exact = text.split("exact robust accuracy is known for linear models: ")[1].split(".")[0]
    assert exact.startswith("ssm ") and "attention" not in exact
    assert "vacuous" in text
    (table,) = (block.table for block in blocks if isinstance(block, Folded))
    assert len(table.rows) == 3 * 3


def test_there_is_no_section_without_probes(summary: Summary) -> None:
    assert list(probe_section(summary, {})) == []


def test_probes_of_other_checkpoints_are_left_out_and_named(summary: Summary, probes: dict[str, ProbeResults]) -> None:
    blocks = list(probe_section(summary, probes | {"ads": with_best(probes["ads"], sha256="1" * 64)}))
    assert "The probes of ads were made on other checkpoints" in text_of(blocks)
    (table,) = (block.table for block in blocks if isinstance(block, Folded))
    assert {row[0] for row in table.rows} == {"ssm", "attention"}


def test_an_explosion_is_named_and_only_if_both_measurements_show_it(
    summary: Summary, probes: dict[str, ProbeResults]
) -> None:
    def growth(after: str, over: str) -> tuple[Growth, ...]:
        def fit(trend: str) -> GrowthFit:
            return GrowthFit.model_validate(
                {"law": "exponential", "aicc": {}, "rate": 0.1, "low": 0.05, "high": 0.2, "residual": 0.1}
                | {"trend": trend}
            )

        each = probes["ads"].checkpoints["best"].growth[-1]
        return (each.model_copy(update={"after": fit(after), "over": fit(over)}),)

    up = "grows exponentially"
    one = {"ads": with_best(probes["ads"], growth=growth(up, "bounded"))}
    assert "In no model does the error" in text_of(list(probe_section(summary, one)))
    both = {"ads": with_best(probes["ads"], growth=growth(up, up))}
    assert "grows exponentially along the sequence in all layers of ads" in text_of(list(probe_section(summary, both)))


def test_a_study_of_models_without_fixed_ssms_has_no_tightness(
    summary: Summary, probes: dict[str, ProbeResults]
) -> None:
    blocks = list(probe_section(summary, {"attention": probes["attention"]}))
    assert [block.name for block in blocks if isinstance(block, Picture)] == ["probe-ladder", "probe-growth"]
    assert "bound" not in text_of(blocks)
