"""Switching studies: changes are shown first, files are copied byte for byte, nothing is lost or run again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssmlab.artifacts.heartbeat import HeartbeatWriter
from ssmlab.core.errors import UserError
from ssmlab.project import switch as module
from ssmlab.project.launched import launch_lock
from ssmlab.project.params_file import load_params
from ssmlab.project.study_changes import Change, study_changes
from ssmlab.project.switch import in_use, studies, use
from ssmlab.system.locks import lock
from tests.unreadable import unreadable


@pytest.fixture
def root(project: Path, tmp_path: Path) -> Path:
    """A project with two studies: `mnist5k`, of five runs, is in use, and `smoke` has three."""
    (tmp_path / "studies").mkdir()
    for name, source in {"mnist5k": "mnist5k-published", "smoke": "smoke"}.items():
        content = (project / "studies" / f"{source}.yaml").read_text().replace(f"study: {source}", f"study: {name}")
        (tmp_path / "studies" / f"{name}.yaml").write_text(content)
    (tmp_path / "params.yaml").write_bytes((tmp_path / "studies" / "mnist5k.yaml").read_bytes())
    return tmp_path


def lock_of(study: str, note: str = "") -> str:
    return (
        "schema: '2.0'\nstages:\n  prepare:\n    cmd: ssmlab prepare\n    outs:\n"
        f"    - path: data/{study}.safetensors\n      md5: 0{note}\n      size: 12\n"
    )


def everything(root: Path) -> dict[str, bytes]:
    """Every file except the empty one that is only locked."""
    files = [path for path in root.rglob("*") if path.is_file() and path.name != ".launch.lock"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_studies_are_listed_with_their_titles(root: Path) -> None:
    (root / "studies" / "broken.yaml").write_text("a: [")
    (root / "studies" / "bare.yaml").write_text("study: bare")
    (root / "studies" / "notes.txt").write_text("not a study")
    listed = {each.name: each.title for each in studies(root)}
    assert list(listed) == ["bare", "broken", "mnist5k", "smoke"]
    assert listed["smoke"] == "Smoke test"
    assert "report.title" in listed["bare"]
    assert [(each.data, each.runs) for each in studies(root)[2:]] == [("mnist5k", 5), ("mnist5k", 3)]
    assert in_use(root / "params.yaml") == "mnist5k"
    assert in_use(root / "studies" / "broken.yaml") is None
    assert "not YAML" in listed["broken"]
    assert studies(root / "nowhere") == []


def test_changes_between_two_studies_are_listed_by_key(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text("same: 1\neps: 8/255\ndeep: {a: {b: 1}, gone: yes}\nlist: [1, 2]\nruns: {ssm: {}}\nkind: 1\n")
    new.write_text("same: 1\neps: 0.1\ndeep: {a: {b: 2}}\nlist: [1, 3]\nruns: {ssm: {}, ads: {}}\nkind: 1.0\n")
    assert study_changes(old, new) == [
        Change("eps", "8/255", "0.1"),
        Change("deep.a.b", "1", "2"),
        Change("list", "[1, 2]", "[1, 3]"),
        Change("runs.ads", None, "{}"),
        Change("kind", "1", "1.0"),
        Change("deep.gone", "yes", None),
    ]
    assert study_changes(new, new) == []


def test_changes_are_listed_also_from_a_missing_and_from_a_broken_file(tmp_path: Path) -> None:
    new, broken = tmp_path / "new.yaml", tmp_path / "broken.yaml"
    new.write_text('a: {b: true}\nwhen: "2024-01-02"\nnothing:\n')
    broken.write_text("a: [")
    expected = [Change("a.b", None, "true"), Change("when", None, "2024-01-02"), Change("nothing", None, "null")]
    for current in (None, broken, tmp_path / "missing.yaml"):
        assert study_changes(current, new) == expected
    with pytest.raises(UserError, match="broken"):
        study_changes(new, broken)


def test_changes_between_the_shipped_studies_are_listed(root: Path) -> None:
    found = {
        change.key: (change.old, change.new)
        for change in study_changes(root / "params.yaml", root / "studies/smoke.yaml")
    }
    assert found["study"] == ("mnist5k", "smoke")
    assert found["train.epochs"][1] == "2"
    assert found["runs.ssm-gelu.model.pointwise"] == ("gelu", None)
    assert "train.adversary.eps" not in found


def test_use_copies_a_study_byte_for_byte(root: Path) -> None:
    assert use("smoke", root) is None
    assert (root / "params.yaml").read_bytes() == (root / "studies" / "smoke.yaml").read_bytes()
    assert set(everything(root)) == {"params.yaml", "studies/mnist5k.yaml", "studies/smoke.yaml"}


def test_use_works_without_a_params_yaml(root: Path) -> None:
    (root / "params.yaml").unlink()
    use("smoke", root)
    assert (root / "params.yaml").read_bytes() == (root / "studies" / "smoke.yaml").read_bytes()


def test_a_file_in_the_place_of_the_studies_is_named(root: Path) -> None:
    (root / "studies").rename(root / "elsewhere")
    (root / "studies").write_text("in the way")
    with pytest.raises(UserError, match=r"there are no studies; .*studies is not a folder, move it away"):
        use("smoke", root)


@pytest.mark.parametrize("name", ["nope", "../params", "smoke.yaml", ""])
def test_an_unknown_study_is_refused(name: str, root: Path) -> None:
    before = everything(root)
    with pytest.raises(UserError, match=r"mnist5k and smoke|did you mean 'smoke'"):
        use(name, root)
    assert everything(root) == before


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [("patch: 7", "patch: x", r"smoke\.yaml: model\.patch"), ("study: smoke", "study: other", r"smoke\.yaml: study")],
)
def test_an_invalid_study_changes_nothing(old: str, new: str, says: str, root: Path) -> None:
    study = root / "studies" / "smoke.yaml"
    study.write_text(study.read_text().replace(old, new))
    (root / "dvc.lock").write_text(lock_of("mnist5k"))
    before = everything(root)
    for force in (False, True):
        with pytest.raises(UserError, match=says):
            use("smoke", root, force=force)
    assert everything(root) == before


def test_use_refuses_to_overwrite_an_edit_of_params_yaml(root: Path) -> None:
    params = root / "params.yaml"
    edited = params.read_text().replace("epochs: 10", "epochs: 20")
    params.write_text(edited)
    before = everything(root)
    with pytest.raises(UserError, match=r"params\.yaml.*studies/NAME\.yaml.*--force") as caught:
        use("smoke", root)
    assert "\n" not in str(caught.value)
    assert everything(root) == before

    first = use("smoke", root, force=True)
    assert first == root / "params.yaml.bak"
    assert first.read_text() == edited
    params.write_text(edited + "# again\n")
    second = use("mnist5k", root, force=True)
    assert second is not None
    assert second != first
    assert (first.read_text(), second.read_text()) == (edited, edited + "# again\n")


def test_use_refuses_to_overwrite_an_edit_of_the_study_in_use(root: Path) -> None:
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 10", "epochs: 20"))
    with pytest.raises(UserError, match="--force"):
        use("mnist5k", root)


def test_a_study_that_the_disk_does_not_give_is_named_and_not_taken_for_an_edit(root: Path) -> None:
    before, file = everything(root), root / "studies" / "mnist5k.yaml"
    with unreadable(file), pytest.raises(UserError, match=f"^{file}: cannot be read .Input/output error"):
        use("smoke", root)
    assert everything(root) == before


def test_no_study_is_switched_while_the_disk_does_not_give_a_heartbeat(root: Path) -> None:
    file = root / "runs" / "mnist5k" / "ssm" / "progress.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    before = everything(root)
    with unreadable(file), pytest.raises(UserError, match=f"nobody knows whether a stage runs: {file}: cannot be read"):
        use("smoke", root)
    assert everything(root) == before
    use("smoke", root)


def test_an_edit_saved_under_a_name_needs_no_force(root: Path) -> None:
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("study: mnist5k", "study: mine"))
    (root / "studies" / "mine.yaml").write_bytes(params.read_bytes())
    assert use("smoke", root) is None
    assert use("mine", root) is None
    assert params.read_bytes() == (root / "studies" / "mine.yaml").read_bytes()


def test_switching_a_study_puts_its_lock_file_away_and_back(root: Path) -> None:
    lock = root / "dvc.lock"
    lock.write_text(lock_of("mnist5k"))
    use("smoke", root)
    assert not lock.exists()
    lock.write_text(lock_of("smoke"))
    use("mnist5k", root)
    assert lock.read_text() == lock_of("mnist5k")
    lock.write_text(lock_of("mnist5k", "1"))  # something ran meanwhile
    use("smoke", root)
    assert lock.read_text() == lock_of("smoke")
    use("mnist5k", root)
    assert lock.read_text() == lock_of("mnist5k", "1")


def test_using_the_study_in_use_keeps_its_lock(root: Path) -> None:
    (root / "runs" / "mnist5k").mkdir(parents=True)
    (root / "runs" / "mnist5k" / "dvc.lock").write_text(lock_of("mnist5k", "old"))
    (root / "dvc.lock").write_text(lock_of("mnist5k", "new"))
    before = everything(root)
    use("mnist5k", root)
    assert everything(root) == before


@pytest.mark.parametrize("broken", ["", "a: [", "stages: {}", "stages: {prepare: {outs: []}}", "stages: 3"])
def test_a_lock_file_that_says_nothing_is_dropped(broken: str, root: Path) -> None:
    (root / "dvc.lock").write_text(broken)
    use("smoke", root)
    assert not (root / "dvc.lock").exists()


@pytest.mark.parametrize("stop_at", range(3))
def test_a_switch_that_is_interrupted_anywhere_can_be_repeated(
    stop_at: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are three writes: the old lock is kept, the new one is put back, params.yaml is replaced."""
    (root / "dvc.lock").write_text(lock_of("mnist5k"))
    (root / "runs" / "smoke").mkdir(parents=True)
    (root / "runs" / "smoke" / "dvc.lock").write_text(lock_of("smoke"))
    write, written = module.write_atomic, []

    def interrupted(path: Path, content: bytes | str) -> None:
        if len(written) == stop_at:
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    monkeypatch.setattr(module, "write_atomic", interrupted)
    with pytest.raises(KeyboardInterrupt):
        use("smoke", root)
    monkeypatch.undo()
    for study in ("smoke", "mnist5k", "smoke"):
        use(study, root)
        assert (root / "dvc.lock").read_text() == lock_of(study)
        assert (root / "params.yaml").read_bytes() == (root / "studies" / f"{study}.yaml").read_bytes()


def test_a_grid_is_written_out_and_is_no_edit(project: Path, root: Path) -> None:
    (root / "studies" / "regimes.yaml").write_bytes((project / "studies" / "regimes.yaml").read_bytes())
    assert use("regimes", root) is None
    assert "grid:" not in (root / "params.yaml").read_text()
    assert use("regimes", root) is None
    assert use("smoke", root) is None


def test_settings_given_on_the_command_line_count_as_an_edit(root: Path) -> None:
    assert use("smoke", root, settings={"data.seed": "4"}) is None
    assert load_params(root / "params.yaml").data.seed == 4
    assert use("smoke", root, settings={"data.seed": "4"}) is None  # nothing would be lost
    with pytest.raises(UserError, match="--force"):
        use("mnist5k", root)


def test_no_study_is_switched_while_a_pipeline_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Running:
        pid = 4711

    monkeypatch.setattr(module, "active", lambda paths: Running() if paths.study == "mnist5k" else None)
    before = everything(root)
    with pytest.raises(UserError, match=r"study mnist5k is running \(process 4711\)"):
        use("smoke", root, force=True)
    assert everything(root) == before


def test_no_pipeline_can_start_between_the_check_for_one_and_the_switch(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[Path] = []

    def check(params: Path) -> None:
        with pytest.raises(BlockingIOError):
            lock(root / "runs" / ".launch.lock", wait=False)
        held.append(params)

    monkeypatch.setattr(module, "refuse_while_running", check)
    use("smoke", root)
    assert held == [root / "params.yaml"]
    with launch_lock(root):  # it is free again
        pass


DVC_YAML = """
stages:
  prepare:
    cmd: python make.py data/${study}.safetensors
    params: [study, data]
    outs:
      - data/${study}.safetensors: {persist: true}
  train:
    foreach: ${runs}
    do:
      cmd: python make.py models/${study}/${key}
      params: [study, train]
      deps: ["data/${study}.safetensors"]
      outs:
        - models/${study}/${key}: {persist: true}
"""
MAKE = """
import pathlib, sys
out = pathlib.Path(sys.argv[1])
out.parent.mkdir(parents=True, exist_ok=True)
out.write_text(str(out))
with open("ran.txt", "a") as file:
    print(out, file=file)
"""


def test_dvc_runs_nothing_again_after_switching_there_and_back(root: Path) -> None:
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def dvc(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, env=environment, check=True)

    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "make.py").write_text(MAKE)
    dvc("init", "--no-scm", "--quiet")
    ran = root / "ran.txt"
    dvc("repro")
    assert len(ran.read_text().splitlines()) == 1 + 5
    use("smoke", root)
    dvc("repro")
    assert len(ran.read_text().splitlines()) == 6 + 1 + 3
    for study in ("mnist5k", "smoke"):
        use(study, root)
        dvc("repro")
        assert len(ran.read_text().splitlines()) == 10


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"stages: [", b"<<<<<<< HEAD\nstages:\n=======\n>>>>>>> b\n"])
def test_a_lock_file_that_cannot_be_read_is_never_thrown_away(root: Path, content: bytes) -> None:
    lock = root / "dvc.lock"
    lock.write_bytes(content)
    try:
        use("smoke", root)
    except UserError as error:
        assert "merge markers" in str(error)
        assert lock.read_bytes() == content
    else:
        assert not content or (root / "dvc.lock.bak").read_bytes() == content


def test_the_studys_own_lock_file_comes_back_after_damage(root: Path) -> None:
    for study in ("mnist5k", "smoke", "mnist5k"):
        use(study, root)
        if not (root / "dvc.lock").exists():
            (root / "dvc.lock").write_text(lock_of(study))
    (root / "dvc.lock").write_text(lock_of("mnist5k")[:30])
    for study in ("smoke", "mnist5k"):
        use(study, root)
    assert (root / "dvc.lock").read_text() == lock_of("mnist5k")


def test_no_study_is_switched_while_a_dvc_command_or_a_stage_works_here(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"`dvc repro`.*is running"):
        patch.setattr(module, "dvc_at_work", lambda folder: "`dvc repro` (process 4711)")
        use("smoke", root)
    heart = HeartbeatWriter(
        root / "runs" / "mnist5k" / "ads" / "progress.json", stage="train", study="mnist5k", run="ads", device="cpu"
    )
    with pytest.raises(UserError, match="run ads of study mnist5k is being trained"):
        use("smoke", root)
    heart.close("finished")
    use("smoke", root)


def test_a_folder_without_studies_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing here; change to a project's folder"):
        use("smoke", tmp_path)
