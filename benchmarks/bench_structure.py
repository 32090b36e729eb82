"""The structure of the code in numbers, for any checkout: folders, layers, imports, long functions, repeated names.

    python benchmarks/bench_structure.py [CHECKOUT ...] [--lock]

`--lock` also counts the lines of the dvc.lock of the study `regimes` (144 runs): it fills a scratch copy with empty
outputs and lets `dvc commit` write the lock, which takes a few minutes.
"""

from __future__ import annotations

import argparse
import ast
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import networkx
from rich.console import Console
from rich.table import Table

PACKAGE = "ssmlab"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[Path()], metavar="CHECKOUT")
    parser.add_argument(
        "--lock", action="store_true", help="count the lines of the dvc.lock of the study `regimes` too"
    )
    arguments = parser.parse_args()
    columns = [measured(root, arguments.lock) for root in arguments.checkouts]
    table = Table("measure", *(str(root) for root in arguments.checkouts))
    for measure in columns[0]:
        table.add_row(measure, *(column[measure] for column in columns))
    Console(width=160).print(table)


def measured(root: Path, lock: bool) -> dict[str, str]:
    """Every measure of one checkout, as text."""
    modules = {name_of(path, root): path for path in sorted((root / PACKAGE).rglob("*.py"))}
    trees = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules.items()}
    rooms = room_graph(trees)
    in_circles = sum(len(each) for each in networkx.strongly_connected_components(rooms) if len(each) > 1)
    circles = [sorted(each) for each in networkx.strongly_connected_components(module_graph(trees)) if len(each) > 1]
    floors = networkx.condensation(rooms)
    longest = max(functions(trees), key=lambda found: found[1])
    repeated = {name: where for name, where in public_names(trees).items() if len(where) > 1}
    dvc = (root / "dvc.yaml").read_text(encoding="utf-8")
    found = {
        "rooms": str(rooms.number_of_nodes()),
        "floors": str(networkx.dag_longest_path_length(floors) + 1),
        "arrows between rooms": str(rooms.number_of_edges()),
        "rooms in circles": str(in_circles),
        "circles of modules": "; ".join(", ".join(each) for each in circles) or "none",
        "lines of dvc.yaml": str(dvc.count("\n")),
        "of them code dependencies": str(len(re.findall(rf"^\s*- {PACKAGE}/", dvc, re.M))),
        "longest function": f"{longest[1]} lines ({longest[0]})",
        "functions over 40 lines": str(sum(lines > 40 for _, lines in functions(trees))),
        "public names in two modules or more": str(len(repeated)),
        "lines that name /proc": str(matching_lines(modules, r"/proc\b|PROC\b")),
        "lines that call fcntl": str(matching_lines(modules, r"\bfcntl\.")),
        "lines of Python": str(sum(path.read_text(encoding="utf-8").count("\n") for path in modules.values())),
        "one-word public functions": str(sum(one_word(name) for name in public_functions(trees))),
    }
    if lock:
        kinds = lines_of_lock(root)
        found["lines of the dvc.lock of 144 runs"] = str(kinds.total())
        found |= {f"of them stage {kind}": str(lines) for kind, lines in kinds.items()}
    return found


def name_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """The modules of the package that a module imports anywhere, also for type checking only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == PACKAGE:
            for each in node.names:
                below = f"{node.module}.{each.name}"
                yield below if below in known else node.module


def module_graph(trees: dict[str, ast.Module]) -> networkx.DiGraph:
    graph = networkx.DiGraph()
    graph.add_nodes_from(trees)
    for name, tree in trees.items():
        graph.add_edges_from((name, other) for other in imported(tree, set(trees)) if other != name)
    return graph


def room_graph(trees: dict[str, ast.Module]) -> networkx.DiGraph:
    """The folders and loose files right below the package, and which imports which."""

    def room(module: str) -> str:
        return ".".join(module.split(".")[:2])

    graph = networkx.DiGraph()
    outer = (PACKAGE, f"{PACKAGE}.__main__")  # the package's __init__, which imports from every layer on purpose
    graph.add_nodes_from({room(name) for name in trees if name not in outer})
    for name, other in module_graph(trees).edges:
        if name not in outer and other not in outer and room(name) != room(other):
            graph.add_edge(room(name), room(other))
    return graph


def functions(trees: dict[str, ast.Module]) -> list[tuple[str, int]]:
    """Every function with its lines of code, the docstring left out."""
    found = []
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                doc = node.body[0] if ast.get_docstring(node) else None
                docstring = (doc.end_lineno or 0) - doc.lineno + 1 if doc else 0
                found.append((f"{module}.{node.name}", (node.end_lineno or 0) - node.lineno + 1 - docstring))
    return found


def public_names(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """In which modules each public function or class of a module's top level is defined."""
    where: dict[str, list[str]] = defaultdict(list)
    for module, tree in trees.items():
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and not node.name.startswith(
                "_"
            ):
                where[node.name].append(module)
    return where


def public_functions(trees: dict[str, ast.Module]) -> Counter[str]:
    return Counter(
        node.name
        for tree in trees.values()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def one_word(name: str) -> bool:
    return not name.startswith("_") and "_" not in name


def matching_lines(modules: dict[str, Path], pattern: str) -> int:
    return sum(
        len(re.findall(f"^.*(?:{pattern}).*$", path.read_text(encoding="utf-8"), re.M)) for path in modules.values()
    )


def lines_of_lock(root: Path) -> Counter[str]:
    """The lines, by stage, of the dvc.lock that the study `regimes` gets once all of its runs are done."""
    with tempfile.TemporaryDirectory(prefix="ssmlab-structure-") as scratch:
        folder = Path(scratch)
        for name in ("dvc.yaml", ".dvcignore"):
            shutil.copy(root / name, folder)
        for name in (PACKAGE, "studies", ".dvc"):
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tmp", "cache"))
        quiet = {"cwd": folder, "check": True, "capture_output": True}
        subprocess.run(["git", "init", "--quiet"], **quiet)
        subprocess.run([sys.executable, "-m", PACKAGE, "use", "regimes"], **quiet)
        runs = re.findall(r"^  ([a-z0-9-]+-s\d+):", (folder / "params.yaml").read_text(encoding="utf-8"), re.M)
        outputs = ["data/regimes.safetensors", "results/regimes/analysis/summary.json"]
        outputs += [f"results/regimes/{name}" for name in ("report.md", "report.html", "study.yaml")]
        outputs += ["results/regimes/figures/figure.png", "results/regimes/tables/table.csv"]
        outputs += ["results/regimes/metrics.json", "results/regimes/plots/curve.csv"]
        outputs += [f"models/regimes/{run}/best.safetensors" for run in runs]
        outputs += [f"results/regimes/{kind}/{run}.json" for kind in ("attack", "probe") for run in runs]
        for output in outputs:
            (folder / output).parent.mkdir(parents=True, exist_ok=True)
            (folder / output).write_text(output)
        subprocess.run([sys.executable, "-m", "dvc", "commit", "--force", "--quiet"], **quiet)
        return lines_by_stage((folder / "dvc.lock").read_text(encoding="utf-8"))


def lines_by_stage(lock: str) -> Counter[str]:
    """The lines of a dvc.lock that belong to each stage of dvc.yaml; all runs of a stage count together."""
    kind, lines = "schema", Counter[str]()
    for line in lock.splitlines():
        stage = re.match(r"  (\w+)(@.+)?:$", line)
        kind = stage[1] if stage else kind
        lines[kind] += 1
    return lines


if __name__ == "__main__":
    main()
