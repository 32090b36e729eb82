"""`ssmlab verify`: one flipped bit anywhere in a study is found, and the command that it names repairs it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.numpy import save

from ssmlab.core.events import Event, Progress
from ssmlab.core.tensors import sealable_metadata, sealed
from ssmlab.data.dataset import Split, make_dataset, save_dataset
from ssmlab.evaluation.results import save_results
from ssmlab.params import Params
from ssmlab.params.paths import Paths
from ssmlab.project.verify import CheckedFile, verify
from tests.analysis.synthetic import flags, results
from tests.stages.manifests import add_manifest

RNG = np.random.default_rng(0)


def split(n: int) -> Split:
    images = torch.from_numpy(RNG.integers(0, 256, (n, 1, 4, 4), np.uint8))
    return Split(images, torch.from_numpy(RNG.integers(0, 2, n)), torch.arange(n))


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def record(root: Path, outs: dict[str, list[str]]) -> None:
    """Write the dvc.lock and the cache that DVC would make of these outputs, written here from DVC's documentation."""
    stages: dict[str, Any] = {}
    for stage, paths in outs.items():
        stages[stage] = {"cmd": f"python -m ssmlab {stage}", "outs": []}
        for path in paths:
            if (root / path).is_dir():
                files = sorted(file for file in (root / path).rglob("*") if file.is_file())
                entries = [
                    {"md5": cached(root, file.read_bytes()), "relpath": file.relative_to(root / path).as_posix()}
                    for file in files
                ]
                name = cached(root, json.dumps(entries, sort_keys=True).encode(), ".dir")
                counts = {"size": sum(file.stat().st_size for file in files), "nfiles": len(files)}
            else:
                name = cached(root, (root / path).read_bytes())
                counts = {"size": (root / path).stat().st_size}
            stages[stage]["outs"].append({"path": path, "hash": "md5", "md5": name, **counts})
    with (root / "dvc.lock").open("w") as file:
        yaml = YAML()
        yaml.default_flow_style = False
        yaml.dump({"schema": "2.0", "stages": stages}, file)


def cached(root: Path, content: bytes, suffix: str = "") -> str:
    name = md5(content) + suffix
    target = root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return name


@pytest.fixture
def study(tmp_path: Path, tiny_params: Params, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A study with one run and a file of every kind, as DVC and our stages leave it."""
    paths = Paths("smoke", tmp_path)
    monkeypatch.setattr("ssmlab.project.verify.cache_folder_of", lambda root: root / ".dvc" / "cache")
    save_dataset(paths.prepared, make_dataset("tiny", 2, {name: split(6) for name in ("train", "validation", "test")}))
    paths.model("ads").mkdir(parents=True)
    for which in ("best", "last"):
        (paths.model("ads") / f"{which}.safetensors").write_bytes(RNG.bytes(300))
    (paths.model("ads") / "history.csv").write_text("epoch,step\n1,10\n")
    add_manifest(paths.model("ads"), "smoke")
    measures = {"clean": flags(20, 0.8, 0), **{name: flags(20, 0.5, 1) for name in tiny_params.attack.attacks}}
    save_results(paths.attack("ads"), results(tiny_params, "ads", measures))
    for file in (paths.analysis, paths.report_md, paths.report_html, paths.figures / "a.png", paths.figures / "b.svg"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(RNG.bytes(200))
    record(
        tmp_path,
        {
            "prepare": ["data/smoke.safetensors"],
            "train@ads": ["models/smoke/ads"],
            "attack@ads": ["results/smoke/attack/ads.json"],
            "analyze": ["results/smoke/analysis"],
            "report": ["results/smoke/report.md", "results/smoke/report.html", "results/smoke/figures"],
        },
    )
    state = sealed(save({"w": np.arange(9.0)}, {"state": sealable_metadata({"rows": []})}))
    live = paths.live("ads")
    live.mkdir(parents=True)
    (live / "state.safetensors").write_bytes(state)
    return paths


def files_of_every_kind(paths: Paths) -> Iterator[Path]:
    for folder in ("data", "models", "results", "runs", ".dvc/cache"):
        yield from sorted(file for file in (paths.root / folder).rglob("*") if file.is_file())


def lost(found: list[CheckedFile]) -> dict[str, CheckedFile]:
    return {each.path: each for each in found if each.is_lost}


def test_an_undamaged_study_has_no_finding_and_every_byte_is_counted(study: Paths) -> None:
    events: list[Event] = []
    found = verify(study, events.append)
    assert {each.state for each in found} == {"whole"}
    names = {each.path for each in found}
    assert {"data/smoke.safetensors", "runs/smoke/ads/state.safetensors", "results/smoke/figures/b.svg"} <= names
    bars = [event for event in events if isinstance(event, Progress)]
    assert bars and all(bar.done <= bar.total for bar in bars)


def test_one_flipped_bit_in_any_file_is_found(study: Paths) -> None:
    chance = random.Random(0)
    files = list(files_of_every_kind(study))
    assert len(files) >= 20
    for file in files:
        content = file.read_bytes()
        for _ in range(5):
            damaged = bytearray(content)
            damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            file.write_bytes(damaged)
            found = lost(verify(study))
            assert file.relative_to(study.root).as_posix() in found, file
        file.write_bytes(content)
    assert not lost(verify(study))


def test_a_damaged_output_is_restored_from_an_intact_cache_and_made_again_without_one(study: Paths) -> None:
    best = study.checkpoint("ads", "best")
    content = best.read_bytes()
    best.write_bytes(b"x" + content[1:])
    (found,) = lost(verify(study)).values()
    assert found.remedy == "rm -f models/smoke/ads/best.safetensors && dvc checkout models/smoke/ads"
    name = md5(content)
    copy = study.root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    copy.unlink()
    (found,) = lost(verify(study)).values()
    assert found.remedy == "rm -f models/smoke/ads/best.safetensors && ssmlab repro train@ads"
    best.write_bytes(content)
    copy.write_bytes(b"x" + content[1:])
    (found,) = lost(verify(study)).values()
    assert found.remedy == f"rm -f {copy.relative_to(study.root)} && dvc commit --force train@ads"


def test_a_missing_file_is_named(study: Paths) -> None:
    study.report_html.unlink()
    shutil.rmtree(study.figures)
    found = lost(verify(study))
    assert {path: each.state for path, each in found.items()} == dict.fromkeys(
        ("results/smoke/report.html", "results/smoke/figures/a.png", "results/smoke/figures/b.svg"), "missing"
    )


def test_results_made_without_dvc_are_intact_but_not_registered(study: Paths, tiny_params: Params) -> None:
    measures = {"clean": flags(20, 0.9, 0), **{name: flags(20, 0.4, 1) for name in tiny_params.attack.attacks}}
    save_results(study.attack("ads"), results(tiny_params, "ads", measures))
    found = verify(study)
    assert not lost(found)
    assert [(each.path, each.remedy) for each in found if each.state == "unregistered"] == [
        ("results/smoke/attack/ads.json", "dvc commit --force attack@ads")
    ]


def test_without_dvc_our_own_digests_are_checked(study: Paths) -> None:
    (study.root / "dvc.lock").unlink()
    assert not lost(verify(study))
    for file in (study.prepared, study.checkpoint("ads", "last"), study.attack("ads")):
        content = bytearray(file.read_bytes())
        content[-20] ^= 1
        file.write_bytes(content)
    found = lost(verify(study))
    assert {path: each.remedy for path, each in found.items()} == {
        "data/smoke.safetensors": "ssmlab prepare",
        "models/smoke/ads/last.safetensors": "ssmlab train ads",
        "results/smoke/attack/ads.json": "ssmlab attack ads",
    }


@pytest.mark.parametrize("content", [b"", b"schema: '2.0'\nstages:\n  prepare: 3\n", b"<<<<<<< ours\n"])
def test_a_damaged_lock_file_is_damage_too(study: Paths, content: bytes) -> None:
    (study.root / "dvc.lock").write_bytes(content)
    found = lost(verify(study))
    assert found["dvc.lock"].remedy == "ssmlab doctor --fix"


@pytest.mark.parametrize("place", ["models/toy", "results/toy/attack"])
def test_a_folder_that_may_not_be_listed_is_an_error_and_not_an_empty_folder(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / place / "ads").mkdir(parents=True)
    real = os.listdir, os.scandir

    def refuse(which: int, folder: str | Path) -> Any:
        if Path(folder) == tmp_path / place:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return real[which](folder)

    monkeypatch.setattr("os.listdir", partial(refuse, 0))
    monkeypatch.setattr("os.scandir", partial(refuse, 1))
    with pytest.raises(PermissionError):
        verify(Paths("toy", tmp_path))
