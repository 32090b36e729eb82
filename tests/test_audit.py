"""The search for known weaknesses in packages: it fails only if it finds one, and says when it cannot search."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "audit"
BASH = shutil.which("bash")
NOT_SEARCHED = "so no package was searched for known weaknesses"
pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")


def audit(programs: Path, pip_audit: str | None) -> subprocess.CompletedProcess[str]:
    """Run the script with only the programs that it needs, and this text as the program pip-audit."""
    for name in ("dirname", "grep", "tail", "cut"):
        (programs / name).symlink_to(str(shutil.which(name)))
    if pip_audit is not None:
        (programs / "pip-audit").write_text(f"#!{BASH}\n{pip_audit}\n")
        (programs / "pip-audit").chmod(0o755)
    environment = {**os.environ, "PATH": str(programs)}
    return subprocess.run([str(BASH), str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "pip_audit", [None, "echo 'ERROR:pip_audit._cli:Could not connect to the service' >&2; exit 1"]
)
def test_where_packages_cannot_be_searched_one_line_says_so(pip_audit: str | None, tmp_path: Path) -> None:
    done = audit(tmp_path, pip_audit)
    assert done.returncode == 0
    assert NOT_SEARCHED in done.stdout and done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("says", "code"), [("No known vulnerabilities found", 0), ("Found 1 known vulnerability in 1 package", 1)]
)
def test_what_pip_audit_finds_is_shown_and_decides_the_code(says: str, code: int, tmp_path: Path) -> None:
    done = audit(tmp_path, f"echo '{says}'; exit {code}")
    assert (done.returncode, done.stdout) == (code, says + "\n")
