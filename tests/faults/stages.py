"""The stages whose changes of the disk are broken, with the files that each of them writes."""

from __future__ import annotations

from dataclasses import dataclass

from tests.tiny_project import RUN, STUDY


@dataclass(frozen=True)
class Stage:
    """A command, and the files it writes, as patterns below the project's folder."""

    name: str
    command: tuple[str, ...]
    outputs: tuple[str, ...]


TRAINED, ATTACKED, PROBED = f"models/{STUDY}/{RUN}/*", f"results/{STUDY}/attack/*", f"results/{STUDY}/probe/*"
GRID = "job of grid"
STAGES = (
    Stage("prepare", ("prepare",), ("data/*",)),
    Stage(GRID, ("run-stages", RUN, "train", "attack", "probe"), (TRAINED, ATTACKED, PROBED)),
    Stage("train", ("train", RUN), (TRAINED,)),
    Stage("attack", ("attack", RUN), (ATTACKED,)),
    Stage("probe", ("probe", RUN), (PROBED,)),
    Stage(
        "analyze",
        ("analyze",),
        (f"results/{STUDY}/analysis/*", f"results/{STUDY}/metrics.json", f"results/{STUDY}/plots/*/*"),
    ),
    Stage(
        "report",
        ("report",),
        (
            f"results/{STUDY}/report.*",
            f"results/{STUDY}/study.yaml",
            f"results/{STUDY}/figures/*",
            f"results/{STUDY}/tables/*",
        ),
    ),
    Stage("runs", ("runs",), ()),
    Stage("compare", ("compare", RUN, f"{STUDY}/{RUN}", "--all"), ()),
    Stage("alerts", ("alerts",), ()),
    Stage("verify", ("verify",), ()),
    Stage("data show", ("data", "show"), ("data/*.png",)),
    Stage("use", ("use", "other"), ("params.yaml", "dvc.lock", "runs/*/dvc.lock")),
)
