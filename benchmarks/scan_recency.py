"""Does an attack on one token win where the model reads last? The slope over the scan, at the same place of the image.

    python benchmarks/scan_recency.py PROJECT STUDY [--orders raster column snake permuted] [--figure FILE.svg]

PROJECT is a folder in which a study like `scan` was run: groups called MODEL-ORDER, every run with a `token-map`. Late
places of one order hold other parts of the image than early ones, so the curve over the scan of one order says nothing
about recency. Several orders read the same patch at different places: for every patch, the share of right images that
it breaks (mean over seeds) and its place in the scan, 0 to 1, are each taken relative to their means over the orders.

    slope = sum over patches and orders of place x share / sum of place^2

in points for the way from the first token to the last. Its interval takes the patches as the independent draws
(Student's, 48 degrees of freedom for 49 patches). Above 0: the later a patch is read, the more images it breaks. The
slopes of the single seeds stand beside it. All orders have the same mean place, so an order that is weaker
everywhere does not move the slope. Printed as a Markdown table; the figure has one mark a patch and order.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import stdtrit

from ssmlab.evaluation.results import load_results
from ssmlab.report.figure_style import LIGHT, MARKERS, PALETTE, figure_files

Array = NDArray[np.float64]
Maps = dict[str, dict[int, tuple[Array, Array]]]  # order -> seed -> (place in the scan, share broken), (patches,) each


def slope_with_interval(places: Array, shares: Array) -> tuple[float, float]:
    """The slope and the half width of its 95% interval for places and shares (orders, patches)."""
    x, y = places - places.mean(axis=0), shares - shares.mean(axis=0)
    spread = float((x * x).sum())
    slope = float((x * y).sum()) / spread
    scores = (x * (y - slope * x)).sum(axis=0)  # (patches,): what every patch adds to the slope's error
    patches = len(scores)
    error = math.sqrt(float((scores**2).sum()) * patches / (patches - 1)) / spread
    return slope, error * float(stdtrit(patches - 1, 0.975))


def maps_of(project: Path, study: str, orders: list[str]) -> dict[str, Maps]:
    """The maps of all runs of the best checkpoint, by model, order and seed."""
    found: dict[str, Maps] = defaultdict(lambda: defaultdict(dict))
    for path in sorted((project / "results" / study / "attack").glob("*.json")):
        group, _, seed = path.stem.rpartition("-s")
        model, _, order = group.partition("-")
        if order in orders:
            result = load_results(path)
            token_map = result.checkpoints["best"].measures["token-map"].token_map
            assert token_map is not None and result.scans is not None
            shares = np.array(token_map.broken) / token_map.right
            found[model][order][int(seed)] = np.array(result.scans["token-map"]), shares
    return found


def stacked(maps: Maps, seeds: list[int]) -> tuple[Array, Array]:
    """Places and shares (orders, patches), the shares as means over these seeds."""
    places = np.stack([by_seed[seeds[0]][0] for by_seed in maps.values()])
    shares = np.stack([np.mean([by_seed[seed][1] for seed in seeds], axis=0) for by_seed in maps.values()])
    return places, shares


def common_seeds(maps: Maps) -> list[int]:
    """The seeds that every order has."""
    return sorted(set.intersection(*(set(by_seed) for by_seed in maps.values())))


def rows(found: dict[str, Maps]) -> list[str]:
    """One line per model: orders, seeds, slope with interval, slopes of the seeds."""
    lines = []
    for model, maps in found.items():
        seeds = common_seeds(maps)
        slope, half = slope_with_interval(*stacked(maps, seeds))
        alone = [slope_with_interval(*stacked(maps, [seed]))[0] for seed in seeds]
        lines.append(
            f"| `{model}` | {', '.join(maps)} | {len(seeds)} | {100 * slope:+.1f} ({100 * (slope - half):+.1f} to "
            f"{100 * (slope + half):+.1f}) | {', '.join(f'{100 * each:+.1f}' for each in alone)} |"
        )
    return lines


def figure_of(found: dict[str, Maps]) -> Figure:
    """Share broken against place in the scan, both relative to the patch's means; one panel per model."""
    figure = Figure(figsize=(7.0, 3.2), layout="constrained")
    panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    names = sorted({order for maps in found.values() for order in maps})
    for axes, (model, maps) in zip(panels, found.items(), strict=True):
        places, shares = stacked(maps, common_seeds(maps))
        slope, _ = slope_with_interval(places, shares)
        x, y = places - places.mean(axis=0), shares - shares.mean(axis=0)
        for number, order in enumerate(maps):
            place = names.index(order)  # one colour for an order in all panels
            look = {"color": PALETTE[place], "markersize": 4, "alpha": 0.6, "linestyle": "none"}
            axes.plot(x[number], 100 * y[number], MARKERS[place], label=order, **look)
        ends = np.array([x.min(), x.max()])
        axes.plot(ends, 100 * slope * ends, color="black", linewidth=1.2)
        axes.set_title(model)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small", loc="lower left")
        axes.set_xlabel("read later than in the other orders")
    panels[0].set_ylabel("broken more often, points")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("study")
    parser.add_argument("--orders", nargs="+", default=["raster", "column", "snake", "permuted"])
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    found = maps_of(options.project, options.study, options.orders)
    print("| model | orders | seeds | slope, points | slopes of the seeds |\n|---|---|--:|--:|--:|")
    print("\n".join(rows(found)))
    if options.figure:
        options.figure.write_bytes(figure_files(lambda _: figure_of(found), LIGHT, ("svg",))[".svg"])


if __name__ == "__main__":
    main()
