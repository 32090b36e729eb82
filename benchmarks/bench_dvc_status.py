"""CPU seconds of `dvc status` over a study of 144 runs whose dvc.lock is complete.

    python benchmarks/bench_dvc_status.py [--study regimes] [--rounds 3] [--layout present inputs]

The project is a copy of this checkout. Its outputs are stand-ins of a few bytes, so nothing is trained; DVC's own code
hashes them and makes their entries of dvc.lock, which is written once (`dvc commit` reads params.yaml and writes the
whole file once a stage). `--layout inputs` is a layout that was tried and not taken (docs/dvc.md): one stage reads
params.yaml and the code, and the stages of a run depend on a small file each that this stage would write.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_commands import least
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("ssmlab", "studies", "dvc.yaml", "params.yaml", "pyproject.toml", ".dvcignore", ".dvc/config")
WRITE_LOCK = """
from functools import reduce
from pathlib import Path

from dvc.dependency import param
from dvc.repo import Repo
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils.serialize import dump_yaml, load_yaml

FILES = (".safetensors", ".json", ".csv", ".md", ".html", ".yaml")
values, saved = load_yaml("params.yaml"), {}


def read_once(fs, path, key_paths, **_):
    return {key: reduce(lambda value, part: value[part], key.split("."), values) for key in key_paths}


def save_once(item):
    key = getattr(item, "params", None) or item.fs_path
    if not isinstance(key, str):
        item.save()
    elif key in saved:
        item.hash_info, item.meta, item.obj = saved[key]
    else:
        item.save()
        saved[key] = item.hash_info, item.meta, item.obj


param.read_param_file = read_once
repo = Repo(".")
stages = repo.index.stages
for out in (out for stage in stages for out in stage.outs):
    path = Path(out.fs_path)
    folder = path if path.suffix not in FILES else path.parent
    folder.mkdir(parents=True, exist_ok=True)
    (path if folder != path else path / "a.csv").write_text(f"stand-in for {path.name}")
lock = {}
with repo.lock:
    for stage in stages:
        for dependency in stage.deps:
            save_once(dependency)
        for out in stage.outs:
            out.save()
            out.commit()  # into the cache
        lock[stage.addressing] = to_single_stage_lockfile(stage)
dump_yaml("dvc.lock", {"schema": "2.0", "stages": lock})
print(len(stages), "stages")
"""


def make_project(folder: Path, study: str, layout: str) -> None:
    """A copy of the checkout with the study in use, stand-in outputs and a complete dvc.lock."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, target)
    run("git", "init", "--quiet", folder=folder)
    if not (folder / ".dvc" / "config").exists():
        run(sys.executable, "-m", "dvc", "init", "--quiet", folder=folder)
    run(sys.executable, "-m", "ssmlab", "use", study, folder=folder)
    if layout == "inputs":
        read_params_once(folder)
    print(run(sys.executable, "-c", WRITE_LOCK, folder=folder).strip())


def read_params_once(folder: Path) -> None:
    """Change dvc.yaml: a new stage `inputs` depends on all code and params.yaml, and each run on one of its files."""
    yaml = YAML()
    pipeline = yaml.load((folder / "dvc.yaml").read_text())
    stages, code = pipeline["stages"], set()
    outs = {
        "train": "inputs/${study}/train",
        "attack": "inputs/${study}/attack.json",
        "probe": "inputs/${study}/probe.json",
    }
    for name, out in outs.items():
        stage = stages[name]["do"]
        del stage["params"]
        code |= {path for path in stage["deps"] if path.startswith("ssmlab")}
        others = [path for path in stage["deps"] if not path.startswith("ssmlab")]
        stage["deps"] = [*others, f"{out}/${{key}}.json" if name == "train" else out]
    stages["inputs"] = {"cmd": "true", "deps": ["params.yaml", *sorted(code)], "outs": list(outs.values())}
    with (folder / "dvc.yaml").open("w") as file:
        yaml.dump(pipeline, file)
    trained = folder / "inputs" / str(yaml.load((folder / "params.yaml").read_text())["study"]) / "train"
    trained.mkdir(parents=True)
    for run in yaml.load((folder / "params.yaml").read_text())["runs"]:
        (trained / f"{run}.json").write_text(f"stand-in for the settings of {run}")


def run(*command: str, folder: Path) -> str:
    """What a command prints; the benchmark ends if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)[:200]}: {done.stderr[-2000:]}")
    return done.stdout


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="regimes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layout", choices=("present", "inputs"), nargs="+", default=["present"])
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for layout in options.layout:
        measure(options.study, options.rounds, layout)


def measure(study: str, rounds: int, layout: str) -> None:
    """Print the length of dvc.lock and the CPU seconds of `dvc status`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        make_project(folder, study, layout)
        lines = len((folder / "dvc.lock").read_text().splitlines())
        said = run(sys.executable, "-m", "dvc", "status", folder=folder).strip().splitlines()
        seconds, _, median = least(["-m", "dvc", "status"], folder, rounds)
        print(
            f"{layout}: dvc.lock of {lines:,} lines: {seconds:.2f} CPU s (median {median:.2f}), says {said[-1][:100]!r}"
        )


if __name__ == "__main__":
    main()
