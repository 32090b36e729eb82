"""The torture of a study's files, short; SSMLAB_TORTURE=SECONDS makes it as long (`make torture`)."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from ssmlab.core.digest import check, sealed_json
from ssmlab.core.errors import UserError
from tests.torture.artifact_readers import Study, damaged, outcome

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits need /proc")


def refuse(message: str) -> None:
    raise UserError(message)


@pytest.mark.parametrize(
    ("reader", "told"),
    [
        (lambda: 1, "read"),
        (lambda: refuse("a: is damaged; run `ssmlab attack a`"), "refused"),
        (lambda: refuse("a\nb"), "an error that is not one short line: 'a\\nb'"),
        (lambda: refuse("a" * 2_000), f"an error that is not one short line: {'a' * 300!r}"),
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: sys.exit(0), "SystemExit: 0"),
    ],
)
def test_the_harness_tells_how_a_reader_treated_its_file(reader, told: str, tmp_path: Path) -> None:
    assert outcome(Study(tmp_path, {"a": b""}, {"a": reader}), "a", 1) == told


def test_damage_often_has_a_correct_digest() -> None:
    sound = sealed_json({"a": [1, 2, {"b": "c"}], "d": 0.5}).encode()
    draws, right = random.Random(0), 0
    for _ in range(200):
        try:
            right += bool(check(json.loads(damaged("x.json", sound, b"other", draws))))
        except (ValueError, TypeError, RecursionError):
            continue
    assert right > 40


def test_every_damaged_file_of_a_study_is_read_or_refused_in_one_line() -> None:
    limits = {"--seconds": os.environ.get("SSMLAB_TORTURE", "3"), "--seed": os.environ.get("SSMLAB_TORTURE_SEED", "0")}
    command = [sys.executable, "-m", "tests.torture.artifact_readers", "--cases", "10000000"]
    command += [word for item in limits.items() for word in item]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert result.returncode in (0, 1), result.stderr[-2000:]
    found = json.loads(result.stdout)
    assert found["failures"] == []
    assert found["cases"] >= 250
