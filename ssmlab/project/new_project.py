"""A new project: a folder outside the repository that uses the installed ssmlab."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ssmlab.core.errors import UserError
from ssmlab.core.files import write_atomic
from ssmlab.core.stage_code import PACKAGE
from ssmlab.core.text import hint, printable
from ssmlab.project.expand import expanded_params_yaml, params_writer
from ssmlab.project.schema import SCHEMA_FILE, schema_text

SHIPPED = PACKAGE / "project" / "shipped"  # in a wheel: dvc.yaml, studies/ and DVC's settings
GITIGNORE = """\
# what the pipeline makes; DVC keeps it, and dvc.lock (commit it) says which version belongs to a commit
/data/
/models/
/runs/
/results/
/dvc_plots/
/params.yaml.bak*
"""
DVC_GITIGNORE = "/config.local\n/tmp\n/cache\n"


def new_project(folder: Path, study: str) -> None:
    """Make a project: params.yaml with one study, the pipeline, all shipped studies, and DVC's folder.

    The pipeline is that of the repository without its dependencies on code, because here the code is installed.

    Raises:
        UserError: the folder has files already, or no such study is shipped; then nothing is written.
    """
    shipped = SHIPPED if SHIPPED.is_dir() else PACKAGE.parent
    studies = {path.stem: path for path in sorted((shipped / "studies").glob("*.yaml"))}
    if not studies:
        raise UserError(f"{shipped}: this installation of ssmlab has no studies; install it from its wheel")
    if study not in studies:
        raise UserError(f"no study '{printable(study, 80)}' is shipped ({hint(study, studies, 'studies')})")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: it is not empty; name a new folder")
    files: dict[str, bytes | str] = {
        "params.yaml": expanded_params_yaml(studies[study]),
        "dvc.yaml": pipeline_without_code(shipped / "dvc.yaml"),
        ".dvcignore": (shipped / ".dvcignore").read_bytes(),
        ".gitignore": GITIGNORE,
        ".dvc/config": (shipped / ".dvc" / "config").read_bytes(),
        ".dvc/.gitignore": DVC_GITIGNORE,
    }
    files |= {f"studies/{path.name}": path.read_bytes() for path in studies.values()}
    files[f"studies/{SCHEMA_FILE}"] = schema_text()
    for name, content in files.items():
        write_atomic(folder / name, content)
    try:  # editors look for it next to the open file
        (folder / SCHEMA_FILE).symlink_to(f"studies/{SCHEMA_FILE}")
    except OSError:  # a drive without links
        write_atomic(folder / SCHEMA_FILE, schema_text())


def pipeline_without_code(path: Path) -> str:
    """A dvc.yaml without dependencies on the package's files and without the repository's own `artifacts`."""
    yaml = params_writer()
    document = yaml.load(path.read_text(encoding="utf-8"))
    document.pop("artifacts", None)
    for described in document["stages"].values():
        stage: Any = described.get("do", described)
        for at in reversed([at for at, dep in enumerate(stage["deps"]) if str(dep).startswith("ssmlab/")]):
            del stage["deps"][at]
        if not stage["deps"]:
            del stage["deps"]
    text = io.StringIO()
    yaml.dump(document, text)
    return text.getvalue()
