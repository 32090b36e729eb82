"""The cost of the stages `attack` and `probe` of trained runs by part, for one version of the code or several.

    python benchmarks/bench_attack_stage.py --project FOLDER RUN [RUN ...] [--code CHECKOUT ...] [--turns 1]

CPU seconds of one thread in a process of its own, without the imports. FOLDER is a project with these runs trained;
the stages work in a copy of it. Each CHECKOUT is a folder with the package ssmlab; they take turns, and the results
of all are compared with those of the first, number by number.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()


def timed(seconds: dict[str, float], name: Callable[..., str], work: Callable[..., Any]) -> Callable[..., Any]:
    """`work`, which adds its CPU seconds to `seconds` under `name` of its arguments."""

    def inside(*given: Any) -> Any:
        part, began = name(*given), time.process_time()
        try:
            return work(*given)
        finally:
            seconds[part] = seconds.get(part, 0.0) + time.process_time() - began

    return inside


def measured(run: str) -> dict[str, Any]:
    """Run both stages on the project in this folder; CPU seconds by part, and what the stages found."""
    import torch

    from ssmlab.evaluation import attack_models
    from ssmlab.evaluation.kinds import attack_of
    from ssmlab.evaluation.kinds.autoattack import PARTS
    from ssmlab.evaluation.results import load_results
    from ssmlab.params.paths import Paths
    from ssmlab.probes.results import load_probes
    from ssmlab.project.params_file import load_params
    from ssmlab.stages.attack.stage import attack
    from ssmlab.stages.probe import probe

    torch.set_num_threads(1)
    seconds: dict[str, float] = {}
    runner = attack_models.AttackRunner
    attack_models.useful_workers = lambda *_: 1  # worker processes would be counted elsewhere
    phases = {name: f"screened: {name}" for name in PARTS}
    names: dict[str, Callable[..., str]] = {
        "clean": lambda *_: "clean",
        "check": lambda *_: "checks",
        "run": lambda _, task: phases.get(attack_of(task.spec).phases[task.phase][0], task.attack),
    }
    for method, name in names.items():
        setattr(runner, method, timed(seconds, name, getattr(runner, method)))
    params, device = load_params(Path("params.yaml")), "cpu"
    paths = Paths(params.study)
    timed(seconds, lambda *_: "attack, all", attack)(params, run, paths, device)
    timed(seconds, lambda *_: "probe, all", probe)(params, run, paths, device)
    found = {
        "attack": load_results(paths.attack(run)).model_dump(mode="json")["checkpoints"],
        "probe": load_probes(paths.probe(run)).model_dump(mode="json")["checkpoints"],
    }
    return {"seconds": seconds, "found": found}


def in_a_process(code: Path, project: Path, run: str) -> dict[str, Any]:
    """`measured` with the package of a checkout, in a copy of the project."""
    with tempfile.TemporaryDirectory() as scratch:
        for part in ("params.yaml", "data", f"models/{next((project / 'models').glob(f'*/{run}')).parent.name}/{run}"):
            place = Path(scratch) / part
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (project / part).is_dir() else shutil.copy)(project / part, place)
        environment = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(HERE), "--measure", run]
        done = subprocess.run(command, cwd=scratch, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def differences(a: Any, b: Any) -> int:
    """How many values of two JSON documents differ; texts, which hold the flags, are compared by character."""
    if isinstance(a, dict) and isinstance(b, dict):
        return sum(differences(a.get(key), b.get(key)) for key in a.keys() | b.keys())
    if isinstance(a, (list, str)) and isinstance(b, type(a)) and len(a) == len(b) and a != b and len(a) > 1:
        return sum(differences(x, y) for x, y in zip(a, b, strict=True))
    return int(a != b)


def table(run: str, codes: list[Path], turns: list[list[dict[str, Any]]]) -> str:
    """The least CPU seconds of every part for each version of the code, and how many of its values differ."""
    first, columns = turns[0][0], range(len(codes))
    differ = [sum(differences(first["found"], turn[column]["found"]) for turn in turns) for column in columns]
    rows = [[run, *(code.name for code in codes)], ["---", *("--:" for _ in columns)]]
    for part in first["seconds"]:
        least = [min(turn[column]["seconds"].get(part, 0.0) for turn in turns) for column in columns]
        rows.append([part, *(f"{each:.2f}" for each in least)])
    rows.append(["values that differ from the first", *map(str, differ)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    """Print one table for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--code", type=Path, nargs="+", default=[HERE.parents[1]])
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(options.measure)))
        return
    codes = [code.resolve() for code in options.code]
    for run in options.runs:
        turns = [[in_a_process(code, options.project, run) for code in codes] for _ in range(options.turns)]
        print(table(run, codes, turns), flush=True)


if __name__ == "__main__":
    main()
