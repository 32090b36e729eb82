"""Fetching from a test server that cuts connections, stalls, redirects, refuses and lies."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmlab.core.errors import UserError
from ssmlab.core.events import Event, Note, Progress
from ssmlab.core.progress import ProgressMeter
from ssmlab.ingest import fetch as fetching
from ssmlab.ingest.catalog import CATALOG, CatalogEntry, Download
from ssmlab.ingest.download import RetryPolicy
from ssmlab.ingest.fetch import DownloadProgress, cache_folder, fetch, is_fetched

HURRY = RetryPolicy(tries=3, pause=0.0, timeout=5.0)


@dataclass
class Site:
    """The server's files and behaviour; each request uses one entry of the lists."""

    files: dict[str, bytes]
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    encoding: str = ""
    stalls_after: int | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    url: str = ""
    server: ThreadingHTTPServer | None = None

    def open(self) -> Site:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, self))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def close(self) -> None:
        self.over.set()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def known(self, name: str = "toy") -> CatalogEntry:
        """A catalogue entry for all its files, with their true MD5s."""
        downloads = tuple(
            Download(name, f"{self.url}/{name}", hashlib.md5(content).hexdigest(), len(content))
            for name, content in self.files.items()
        )
        return replace(CATALOG["mnist"], name=name, downloads=downloads, download_page="https://example.org/toy")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, site: Site, *arguments: Any) -> None:
        self.site = site
        super().__init__(*arguments)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        site, wanted = self.site, self.headers.get("Range")
        self.close_connection = True
        if self.path.startswith("/moved/"):
            self.answer(302, Location=self.path.removeprefix("/moved"))
            return
        site.asked.append((self.path.lstrip("/"), wanted))
        code = site.codes.pop(0) if site.codes else 200
        content = site.files.get(self.path.lstrip("/"))
        if code != 200 or content is None:
            self.answer(code if code != 200 else 404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.ranges else 0
        whole = len(content)
        if start >= whole > 0:
            self.answer(416, Content_Range=f"bytes */{whole}")
            return
        extra = {"Content_Encoding": site.encoding} if site.encoding else {}
        if start:
            extra["Content_Range"] = f"bytes {start}-{whole - 1}/{whole}"
        self.answer(206 if start else 200, whole - start, **extra)
        rest = content[start : start + site.cuts.pop(0)] if site.cuts else content[start:]
        if site.stalls_after is not None:
            self.wfile.write(rest[: site.stalls_after])
            site.over.wait(30)
            return
        self.wfile.write(rest)

    def answer(self, code: int, length: int = 0, **headers: str) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content_Length": str(length), "Connection": "close"}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()


def noise(n: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(n)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site({"images.gz": gzip.compress(noise(200_000)), "labels.gz": gzip.compress(noise(1_000, 1))}).open()
    yield site
    site.close()


def failure(known: CatalogEntry, folder: Path, **options: Any) -> str:
    """The one line of a fetch that must fail."""
    with pytest.raises(UserError) as caught:
        fetch(known, folder, **{"policy": HURRY, **options})
    line = str(caught.value)
    assert "\n" not in line and "Traceback" not in line
    return line


def assert_whole(site: Site, home: Path) -> None:
    """Every file is there as the site has it, its record says so, and nothing else is left."""
    records = json.loads((home / "fetched.json").read_text())
    for name, content in site.files.items():
        assert (home / name).read_bytes() == content
        assert records[name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert records[name]["size"] == len(content)
    assert {path.name for path in home.iterdir()} == {*site.files, "fetched.json", ".lock"}


def test_what_is_fetched_once_is_not_fetched_again(site: Site, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    known = site.known()
    assert not is_fetched(known, tmp_path)
    assert fetch(known, tmp_path) == tmp_path / "toy"
    assert_whole(site, tmp_path / "toy")
    assert is_fetched(known, tmp_path)
    assert len(site.asked) == 2
    site.close()
    fetch(known, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_download_continues_where_the_connection_was_cut(site: Site, tmp_path: Path) -> None:
    site.cuts = [70_000, 50_000]
    notes: list[Event] = []
    fetch(site.known(), tmp_path, notes.append, policy=HURRY)
    assert_whole(site, tmp_path / "toy")
    assert site.asked[:3] == [("images.gz", None), ("images.gz", "bytes=70000-"), ("images.gz", "bytes=120000-")]
    warnings = [each.text for each in notes if isinstance(each, Note)]
    assert len(warnings) == 2 and all("again" in text and "127.0.0.1" in text for text in warnings)


def test_only_tries_that_receive_nothing_count(site: Site, tmp_path: Path) -> None:
    site.cuts = [10_000] * 10
    fetch(site.known(), tmp_path, policy=HURRY)
    assert_whole(site, tmp_path / "toy")
    assert HURRY.tries < 10


def test_a_server_without_ranges_is_asked_for_the_whole_file(site: Site, tmp_path: Path) -> None:
    site.ranges, site.cuts = False, [70_000]
    fetch(site.known(), tmp_path, policy=HURRY)
    assert_whole(site, tmp_path / "toy")


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 5_000), max_size=8), st.booleans(), st.integers(0, 12_000))
def test_the_content_is_right_wherever_connections_break(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], ranges: bool, length: int
) -> None:
    site = Site({"a": noise(length, 2)}, ranges=ranges, cuts=cuts).open()
    try:
        folder = tmp_path_factory.mktemp("cache")
        fetch(site.known(), folder, policy=replace(HURRY, tries=10))
        assert_whole(site, folder / "toy")
    finally:
        site.close()


def test_a_file_with_a_wrong_checksum_is_removed(site: Site, tmp_path: Path) -> None:
    known = site.known()
    site.files["labels.gz"] = noise(1_000, 9)
    line = failure(known, tmp_path)
    assert (
        "labels.gz" in line
        and "that of the published file, so it was removed" in line
        and known.downloads[1].md5 in line
    )
    assert f"by hand into {tmp_path / 'toy'}: {site.url}/labels.gz" in line and "data.source" in line
    assert not list((tmp_path / "toy").glob("labels*"))
    assert (tmp_path / "toy" / "images.gz").is_file()
    assert not is_fetched(known, tmp_path)


def test_a_missing_file_is_requested_once(site: Site, tmp_path: Path) -> None:
    known = site.known()
    del site.files["images.gz"]
    line = failure(known, tmp_path)
    assert "404" in line and "https://example.org/toy" in line
    assert f"by hand into {tmp_path / 'toy'}: {site.url}/images.gz {site.url}/labels.gz" in line
    assert len(site.asked) == 1


@pytest.mark.parametrize("code", [429, 503])
def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path, code: int) -> None:
    site.codes = [code, code]
    fetch(site.known(), tmp_path, policy=HURRY)
    assert_whole(site, tmp_path / "toy")
    site.codes = [code] * 3
    (tmp_path / "toy" / "images.gz").unlink()
    assert str(code) in failure(site.known(), tmp_path)


def test_a_download_from_a_server_that_dies_continues_from_another(site: Site, tmp_path: Path) -> None:
    known, part = site.known(), tmp_path / "toy" / "images.gz.part"
    site.cuts = [70_000]

    def stop_the_server(event: Event) -> None:
        if isinstance(event, Note):
            site.close()

    line = failure(known, tmp_path, listen=stop_the_server)
    assert "refused" in line.lower() and "0.1 MB are kept" in line and "ssmlab data fetch toy" in line
    assert part.read_bytes() == site.files["images.gz"][:70_000]
    other = Site(site.files).open()
    try:
        fetch(known, tmp_path, mirror=other.url + "/")
        assert other.asked[0] == ("images.gz", "bytes=70000-")
        assert_whole(other, tmp_path / "toy")
    finally:
        other.close()


def test_a_stalled_server_times_out(site: Site, tmp_path: Path) -> None:
    site.stalls_after = 1_000
    line = failure(site.known(), tmp_path, policy=RetryPolicy(tries=1, pause=0.0, timeout=0.2))
    assert "sent nothing for 0.2 s" in line


def test_an_interrupted_download_keeps_what_was_received(site: Site, tmp_path: Path) -> None:
    site.files = {"images.gz": noise(400_000)}
    seen = 0

    def interrupt(event: Event) -> None:
        nonlocal seen
        seen += 1
        if seen == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(site.known(), tmp_path, interrupt)
    piece = (tmp_path / "toy" / "images.gz.part").read_bytes()
    assert 0 < len(piece) < 400_000 and site.files["images.gz"].startswith(piece)
    assert {path.name for path in (tmp_path / "toy").iterdir()} == {"images.gz.part", ".lock"}
    fetch(site.known(), tmp_path)
    assert site.asked[-1] == ("images.gz", f"bytes={len(piece)}-")
    assert_whole(site, tmp_path / "toy")


@pytest.mark.parametrize("prefix", ["", "/moved", "/moved/moved"])
def test_redirections_are_followed_and_keep_the_range(site: Site, tmp_path: Path, prefix: str) -> None:
    site.cuts = [10_000]
    fetch(site.known(), tmp_path, mirror=site.url + prefix, policy=HURRY)
    assert site.asked[1] == ("images.gz", "bytes=10000-")
    assert_whole(site, tmp_path / "toy")


@pytest.mark.parametrize("left", ["whole", "longer", "other"])
def test_a_partial_file_is_continued_or_replaced(site: Site, tmp_path: Path, left: str) -> None:
    content = site.files["images.gz"]
    piece = {"whole": content, "longer": content + b"x", "other": noise(5_000, 7)}[left]
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "images.gz.part").write_bytes(piece)
    (tmp_path / "toy" / "tmp1234abcd").write_bytes(b"")  # a killed process leaves pooch's temporary file too
    fetch(site.known(), tmp_path, policy=HURRY)
    assert_whole(site, tmp_path / "toy")
    assert site.asked[0] == ("images.gz", f"bytes={len(piece)}-")
    assert sum(name == "images.gz" for name, _ in site.asked) == (1 if left == "whole" else 2)


def test_files_put_there_by_hand_are_checked_and_used(site: Site, tmp_path: Path) -> None:
    known, home = site.known(), tmp_path / "toy"
    home.mkdir()
    (home / "images.gz").write_bytes(site.files["images.gz"])
    (home / "labels.gz").write_bytes(b"an error page")
    assert not is_fetched(known, tmp_path)
    notes: list[Event] = []
    fetch(known, tmp_path, notes.append)
    assert site.asked == [("labels.gz", None)]
    assert any(isinstance(each, Note) and each.warning and "labels.gz" in each.text for each in notes)
    assert_whole(site, home)


def test_a_file_that_has_changed_since_is_found_by_its_sha256(site: Site, tmp_path: Path) -> None:
    known, file = site.known(), tmp_path / "toy" / "images.gz"
    fetch(known, tmp_path)
    file.write_bytes(bytes(file.stat().st_size))
    assert is_fetched(known, tmp_path)  # the sizes fit
    fetch(known, tmp_path)
    assert_whole(site, tmp_path / "toy")
    file.write_bytes(b"short")
    assert not is_fetched(known, tmp_path)


@pytest.mark.parametrize("records", ["", "[]", '{"images.gz": 3}', None])
def test_without_records_the_md5s_are_checked(site: Site, tmp_path: Path, records: str | None) -> None:
    known, file = site.known(), tmp_path / "toy" / "fetched.json"
    fetch(known, tmp_path)
    file.unlink()
    if records is not None:
        file.write_text(records)
    assert not is_fetched(known, tmp_path)
    site.close()
    fetch(known, tmp_path)
    assert_whole(site, tmp_path / "toy")


def test_a_record_with_another_md5_is_ignored(site: Site, tmp_path: Path) -> None:
    known = site.known()
    fetch(known, tmp_path)
    site.files["labels.gz"] = noise(1_000, 11)
    assert not is_fetched(site.known(), tmp_path)
    fetch(site.known(), tmp_path)
    assert_whole(site, tmp_path / "toy")


def test_a_full_disk_is_one_line(site: Site, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "images.gz.part").symlink_to(full)
    line = failure(site.known(), tmp_path)
    assert "No space left" in line and "SSMLAB_CACHE" in line


def test_free_room_is_checked_before_downloading(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total = sum(map(len, site.files.values()))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage._replace(free=total - 1))
    assert "free" in failure(site.known(), tmp_path) and site.asked == []
    (tmp_path / "toy" / "images.gz.part").write_bytes(site.files["images.gz"][:1])
    fetch(site.known(), tmp_path)


def test_a_cache_folder_that_cannot_be_written_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("a file")
    assert str(tmp_path / "toy") in failure(site.known(), tmp_path)


def test_two_processes_download_once(site: Site, tmp_path: Path) -> None:
    site.files = {"images.gz": noise(3_000_000)}
    known, notes, begun = site.known(), list[Event](), threading.Event()

    def first(event: Event) -> None:
        begun.set()
        waits.wait(10)

    waits = threading.Event()

    def second(event: Event) -> None:
        notes.append(event)
        waits.set()

    other = threading.Thread(target=fetch, args=(known, tmp_path, first))
    other.start()
    assert begun.wait(10)
    fetch(known, tmp_path, second)
    other.join()
    assert [type(each) for each in notes] == [Note] and "another process" in notes[0].text
    assert len(site.asked) == 1
    assert_whole(site, tmp_path / "toy")


def test_progress_counts_the_megabytes_of_all_files(site: Site, tmp_path: Path) -> None:
    site.files = {"a": noise(3_400_000), "b": noise(1_700_000, 1)}
    events: list[Event] = []
    fetch(site.known(), tmp_path, events.append)
    told = [each for each in events if isinstance(each, Progress)]
    assert {each.task for each in told} == {"fetching toy, MB"}
    assert {each.total for each in told} == {6}  # 5.1 MB, known from the catalogue
    done = [each.done for each in told]
    assert done[0] == 0 and done == sorted(done) and set(done) == set(range(7))
    assert all(each.eta is not None and each.eta >= 0 for each in told[1:]) and told[-1].eta == 0


def test_the_estimate_counts_only_what_comes_over_the_line() -> None:
    now = 0.0
    events: list[Any] = []
    progress = DownloadProgress("t", [Download("a", "", "", 10_000_000), Download("b", "", "")], events.append)
    progress.meter = ProgressMeter(10_000_000, clock=lambda: now)
    progress.on_bytes("a", 6_000_000, 10_000_000)  # was there before
    assert (events[-1].done, events[-1].total, events[-1].eta) == (6, 10, None)
    now = 2.0
    progress.on_bytes("a", 8_000_000, 10_000_000)  # 1 MB/s, 2 MB to come
    assert (events[-1].done, events[-1].total, events[-1].eta) == (8, 10, 2.0)
    progress.on_bytes("a", 10_000_000, 10_000_000)
    now = 8.0
    progress.on_bytes("b", 0, 4_000_000)  # 0.5 MB/s by now, 4 MB to come
    assert (events[-1].done, events[-1].total, events[-1].eta) == (10, 14, 8.0)


def test_compressed_files_stay_compressed(site: Site, tmp_path: Path) -> None:
    site.encoding = "gzip"
    fetch(site.known(), tmp_path)
    assert_whole(site, tmp_path / "toy")


def test_a_server_that_is_down_is_one_line(site: Site, tmp_path: Path) -> None:
    known = site.known()
    site.close()
    line = failure(known, tmp_path)
    assert "no connection to 127.0.0.1" in line and "by hand" in line


@pytest.mark.parametrize("mirror", ["example.org", "file:///tmp", "http://", "http://[bad", "ftp://example.org"])
def test_a_mirror_must_be_a_web_address(site: Site, tmp_path: Path, mirror: str) -> None:
    assert "--mirror" in failure(site.known(), tmp_path, mirror=mirror)


def test_an_embedded_data_set_is_not_fetched(tmp_path: Path) -> None:
    assert "nothing to download" in failure(CATALOG["mnist5k"], tmp_path)
    assert not is_fetched(CATALOG["mnist5k"], tmp_path)


def test_the_environment_chooses_the_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSMLAB_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("SSMLAB_CACHE")
    assert cache_folder().name == "ssmlab"
