"""What the report says about the limits of its numbers."""

from __future__ import annotations

from ssmlab.analysis.summarize import summarize
from ssmlab.params import Params
from ssmlab.report.blocks import Bullets
from ssmlab.report.limits_section import limits_section
from tests.analysis.synthetic import data_summary, results


def test_the_widest_interval_of_the_attack_on_the_fewest_images_is_named(tiny_params: Params) -> None:
    right = {"ssm": 100, "attention": 50, "ads": 100}  # of 100 images; the interval is widest at one half
    many = "1" * 800 + "0" * 200
    found = [
        results(tiny_params, run, {"clean": many, "fgsm": many, "pgd-2": "1" * count + "0" * (100 - count)})
        for run, count in right.items()
    ]
    settings = tiny_params.analyze.model_copy(update={"claims": ()})
    summary = summarize(tiny_params.study, found, settings, data_summary())
    items = next(block.items for block in limits_section(summary) if isinstance(block, Bullets))
    assert (
        "pgd-2 was run on only 100 images: its accuracies are uncertain by about 10 points in each direction." in items
    )
