"""`ssmlab data`: list, fetch, prepare, show."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from ssmlab.cli.app import app
from ssmlab.ingest.catalog import CATALOG, Download

SMOKE = Path(__file__).resolve().parents[2] / "studies" / "smoke.yaml"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with the smoke study, no outputs, and an empty cache."""
    shutil.copy(SMOKE, tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSMLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared data set of the smoke study."""
    folder = tmp_path_factory.mktemp("prepared")
    shutil.copy(SMOKE, folder / "params.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert CliRunner().invoke(app, ["data", "prepare"]).exit_code == 0
    return folder / "data" / "smoke.safetensors"


@pytest.fixture
def with_data(folder: Path, prepared: Path) -> Path:
    """The same with the study prepared."""
    (folder / "data").mkdir()
    shutil.copy(prepared, folder / "data" / "smoke.safetensors")
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def mirror(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server with the file of a data set `toy`, whose address in the catalogue does not answer."""
    root = tmp_path_factory.mktemp("www")
    (root / "toy.bin").write_bytes(b"pixels")
    download = Download("toy.bin", "http://127.0.0.1:9/toy.bin", hashlib.md5(b"pixels").hexdigest())
    monkeypatch.setitem(CATALOG, "toy", replace(CATALOG["mnist"], name="toy", downloads=(download,)))  # type: ignore
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(app, ["data", *arguments])
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: str) -> str:
    """The one line on stderr of a command that must fail."""
    result = CliRunner().invoke(app, ["data", *arguments])
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), result.stderr
    return lines[0]


def line_of(output: str, name: str) -> list[str]:
    """The words of a table's line."""
    return next(line.split() for line in output.splitlines() if line.split()[:1] == [name])


@pytest.mark.parametrize("command", [[], ["fetch"], ["show"]])
def test_help_has_examples(command: list[str]) -> None:
    assert "Example" in run(*command, "--help").output


def test_data_list_works_without_any_prepared_data(folder: Path) -> None:
    output = run("list").output
    assert "nothing is prepared" in output and "ssmlab prepare" in output
    assert str(folder / "cache") in output.replace("\n", "")
    for name in CATALOG:
        assert line_of(output, name)[-1] == ("embedded" if name == "mnist5k" else "-")
    assert line_of(output, "cifar100") == ["cifar100", "CIFAR-100", "100", "3x32x32", "50,000+10,000", "169", "-"]
    assert "89,996+10,004+7,180" in line_of(output, "pathmnist")
    assert list(folder.iterdir()) == [folder / "params.yaml"]


def test_list_for_scripts_has_a_schema_and_a_row_for_every_data_set(with_data: Path) -> None:
    document = json.loads(run("list", "--format", "json").stdout)
    assert (document["schema"], document["kind"]) == (1, "data sets")
    rows = {(row["kind"], row["name"]): row for row in document["rows"]}
    assert {name for kind, name in rows if kind == "known"} == set(CATALOG)
    prepared = rows["prepared", "smoke"]
    assert (prepared["train"], prepared["validation"], prepared["test"]) == (4800, 100, 100)
    assert len(prepared["fingerprint"]) == 64 and rows["known", "mnist5k"]["here"]
    lines = run("list", "--format", "csv").stdout.splitlines()
    assert len(lines) == 1 + len(document["rows"]) and lines[0].startswith("name,kind,data,title,here,classes")
    assert run("list", "--format", "md").stdout.startswith("| name | kind |")


def test_show_refuses_a_data_set_whose_pixels_were_changed(with_data: Path) -> None:
    path = with_data / "data" / "smoke.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "does not match its fingerprint" in refused("show")


def test_an_unknown_name_gets_a_hint_and_never_the_whole_list(with_data: Path) -> None:
    assert "did you mean 'cifar10'?" in refused("fetch", "cifar_10")
    assert "did you mean 'smoke'?" in refused("show", "smok")
    for number in range(300):
        (with_data / "data" / f"study{number}.safetensors").touch()
    line = refused("show", "zzz")
    assert "and 294 more" in line and len(line) < 300


def test_list_in_a_narrow_terminal_leaves_out_the_titles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    output = run("list").output
    assert "OrganAMNIST" not in output and "165,466+23,640+47,280" in output and "…" not in output


def test_list_shows_what_is_prepared_and_what_is_damaged(with_data: Path) -> None:
    (with_data / "data" / "broken.safetensors").write_bytes(b"nonsense")
    result = run("list")
    words = line_of(result.stdout, "smoke")
    assert words[1:4] == ["mnist5k", "partial", "4,800+100+100"] and len(words[-1]) == 12
    assert result.stderr.startswith("warning: data/broken.safetensors") and result.stderr.count("\n") == 1


def test_a_fetched_data_set_is_listed_as_fetched(folder: Path, mirror: str) -> None:
    output = run("fetch", "toy", "--mirror", mirror).output
    assert str(folder / "cache" / "toy") in output and "ssmlab prepare" in output
    assert (folder / "cache" / "toy" / "toy.bin").read_bytes() == b"pixels"
    assert line_of(run("list").output, "toy")[-1] == "fetched"
    assert run("fetch", "toy").exit_code == 0  # the address in the catalogue is not used


def test_a_failed_fetch_says_how_to_download_by_hand(folder: Path, mirror: str) -> None:
    line = refused("fetch", "toy", "--mirror", f"{mirror}/nowhere")
    assert "404" in line and "http://127.0.0.1:9/toy.bin" in line and "data.source" in line
    assert "cifar10" in refused("fetch", "cifar11")
    assert "embedded" in refused("fetch", "mnist5k")


def test_the_command_prepare_writes_the_same_bytes_again(with_data: Path) -> None:
    before = (with_data / "data" / "smoke.safetensors").read_bytes()
    (with_data / "data" / "smoke.safetensors").unlink()
    assert CliRunner().invoke(app, ["prepare"]).exit_code == 0
    assert (with_data / "data" / "smoke.safetensors").read_bytes() == before


@pytest.mark.parametrize("name", [[], ["smoke"], ["data/smoke.safetensors"]])
def test_data_show_writes_a_picture(with_data: Path, name: list[str]) -> None:
    output = run("show", *name).output
    assert "data/smoke.png" in output and "mnist5k" in output and "10 classes" in output
    assert "\x1b" not in output and "▀" not in output
    with Image.open(with_data / "data" / "smoke.png") as picture:
        assert picture.format == "PNG" and picture.height > 10 * 56


def test_data_show_writes_to_the_given_path(with_data: Path) -> None:
    run("show", "--to", "pictures/digits.png")
    assert (with_data / "pictures" / "digits.png").is_file() and not (with_data / "data" / "smoke.png").exists()
    assert ".png" in refused("show", "--to", "digits.jpg")


def test_data_show_draws_images_in_a_terminal(with_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("COLUMNS", "100")
    output = run("show").output
    assert "▀" in output and "\x1b[38;2;" in output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "▀" not in run("show").output


def test_data_show_of_a_missing_data_set_is_one_line(folder: Path) -> None:
    assert "ssmlab prepare" in refused("show")
    line = refused("show", "cifar10")
    assert "data.name: cifar10" in line and "ssmlab prepare" in line
    assert "nope" in refused("show", "nope") and "ssmlab data list" in refused("show", "nope")
    assert "nope.safetensors" in refused("show", "nope.safetensors")
    (folder / "data").mkdir()
    (folder / "data" / "bad.safetensors").write_bytes(b"nonsense")
    assert "bad.safetensors" in refused("show", "bad")


@pytest.mark.parametrize("command", [["list"], ["show"], ["--help"]])
def test_the_data_commands_load_no_torch(with_data: Path, command: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["ssmlab", "data", *{command!r}]
from ssmlab.cli.app import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
assert not {{"torch", "textual", "matplotlib"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
