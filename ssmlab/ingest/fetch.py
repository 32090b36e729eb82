"""Download data sets once into a cache folder. No file is opened before its checksum was verified."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pooch
from pydantic import TypeAdapter

from ssmlab.core.errors import UserError
from ssmlab.core.events import Listener, Note, Progress, silence
from ssmlab.core.files import expand_home, read_file, sha256_file, write_atomic
from ssmlab.core.json_text import readable_json
from ssmlab.core.progress import ProgressMeter
from ssmlab.ingest.catalog import CatalogEntry, Download
from ssmlab.ingest.download import DownloadError, RetryPolicy, download, file_size
from ssmlab.system.locks import lock

MB = 1_000_000  # bytes
RECORDS = "fetched.json"
DEFAULT_RETRY_POLICY = RetryPolicy()


@dataclass(frozen=True)
class FetchedFile:
    """A file that had its publisher's MD5 when it was downloaded. The SHA-256, which is not published, is ours."""

    md5: str
    sha256: str
    size: int


RecordsType = TypeAdapter(dict[str, FetchedFile])


def cache_folder() -> Path:
    """The folder for downloads: $SSMLAB_CACHE, or the system's cache folder; raises UserError as `expand_home`."""
    named = os.environ.get("SSMLAB_CACHE")
    return expand_home(named) if named else Path(pooch.os_cache("ssmlab"))


def is_fetched(known: CatalogEntry, folder: Path) -> bool:
    """Whether all files of a data set are in the cache `folder`, judged by size; `fetch` checks their content."""
    home = folder / known.name
    records = read_records(home)
    return bool(known.downloads) and all(
        (record := records.get(each.file)) is not None
        and record.md5 == each.md5
        and (home / each.file).is_file()
        and file_size(home / each.file) == record.size
        for each in known.downloads
    )


def fetch(
    known: CatalogEntry,
    folder: Path,
    listen: Listener = silence,
    mirror: str | None = None,
    policy: RetryPolicy = DEFAULT_RETRY_POLICY,
) -> Path:
    """Download the missing files of a data set into the cache `folder`, check all of them, and return their folder.

    Files that the user has put there are accepted too. An interrupted download continues where it stopped. If several
    processes fetch the same data set, one downloads and the others wait for it.

    Args:
        mirror: download MIRROR/FILE instead of the publisher's address.

    Raises:
        UserError: a download failed, a file has the wrong checksum, or the disk is full; the message says how to
            continue by hand.
    """
    home = folder / known.name
    if not known.downloads:
        raise UserError(
            f"{known.name}: part of a Python package, so there is nothing to download; set data.source: embedded"
        )
    if mirror is not None and not is_web_address(mirror):
        raise UserError(f"--mirror {mirror}: not a web address; give one such as https://HOST/FOLDER")
    try:
        home.mkdir(parents=True, exist_ok=True)
        with folder_lock(home, listen):
            for left in home.glob("tmp*"):  # pooch's, of a process that was killed
                left.unlink()
            missing = [each for each in known.downloads if not is_valid_file(home, each, listen)]
            check_free_space(home, missing)
            progress = DownloadProgress(f"fetching {known.name}, MB", missing, listen)
            for each in missing:
                fetch_file(known, each, home, mirror, policy, progress)
                write_record(home, each)
    except OSError as error:
        raise UserError(
            f"{error.filename or home}: {error.strerror or error}; fix that, or name another folder in SSMLAB_CACHE; "
            "what was downloaded is kept"
        ) from None
    return home


def is_web_address(text: str) -> bool:
    """Whether `text` is an http or https address with a host."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


@contextmanager
def folder_lock(home: Path, listen: Listener) -> Iterator[None]:
    """Hold the lock of a data set's folder, waiting for another process that holds it. It ends with its process."""
    try:
        file = lock(home / ".lock", wait=False)
    except BlockingIOError:
        listen(Note(f"another process is fetching into {home}; waiting for it"))
        file = lock(home / ".lock")
    with file:
        yield


def is_valid_file(home: Path, wanted: Download, listen: Listener) -> bool:
    """Whether a file exists with the right content; a file with other content is removed."""
    path, record = home / wanted.file, read_records(home).get(wanted.file)
    if not path.is_file():
        return False
    if record is not None and record.md5 == wanted.md5:
        sound = sha256_file(path) == record.sha256
    elif sound := pooch.file_hash(str(path), alg="md5") == wanted.md5:
        write_record(home, wanted)
    if not sound:
        path.unlink()
        listen(
            Note(
                f"{path}: its checksum differs from the published one; it was removed and will be downloaded again",
                True,
            )
        )
    return sound


def check_free_space(home: Path, missing: Sequence[Download]) -> None:
    """Raises UserError if the disk has no room for the missing files whose size is known."""
    needed = sum(max((each.size or 0) - file_size(partial_file(home, each)), 0) for each in missing)
    free = shutil.disk_usage(home).free
    if needed > free:
        raise UserError(
            f"{home}: {needed / MB:.0f} MB are needed and {free / MB:.0f} MB are free; make room, or name a folder on "
            "another disk in SSMLAB_CACHE"
        )


def fetch_file(
    known: CatalogEntry,
    wanted: Download,
    home: Path,
    mirror: str | None,
    policy: RetryPolicy,
    progress: DownloadProgress,
) -> None:
    """Download one file; raises UserError, and leaves no file there, unless it has the publisher's MD5."""
    url = f"{mirror.rstrip('/')}/{wanted.file}" if mirror else wanted.url
    part = partial_file(home, wanted)
    missing = " ".join(each.url for each in known.downloads if not (home / each.file).is_file())
    page = f" (see {known.download_page})" if known.download_page else ""
    by_hand = f"download by hand into {home}: {missing}{page}, or set data.source to the path where you have it"

    def bring(_: str, to: str, __: object) -> None:
        download(url, part, policy, partial(progress.on_bytes, wanted.file), progress.listen)
        part.replace(to)

    goes_on = file_size(part) > 0
    pooch.get_logger().setLevel("ERROR")  # it would write to stderr; `listen` is told instead
    try:
        pooch.retrieve(url, f"md5:{wanted.md5}", wanted.file, home, downloader=bring)
    except DownloadError as failure:
        kept = (
            f"; {file_size(part) / MB:.1f} MB are kept, `ssmlab data fetch {known.name}` continues there"
            if file_size(part)
            else ""
        )
        raise UserError(f"{url}: {failure}{kept}; or {by_hand}") from None
    except ValueError:
        if not goes_on:
            raise UserError(
                f"{url}: its MD5 is not {wanted.md5}, that of the published file, so it was removed; {by_hand}"
            ) from None
        progress.listen(
            Note(f"{wanted.file}: the part of an earlier download does not fit; downloading all of it again", True)
        )
        fetch_file(known, wanted, home, mirror, policy, progress)


def partial_file(home: Path, wanted: Download) -> Path:
    """The path of a file while it is downloaded."""
    return home / f"{wanted.file}.part"


def read_records(home: Path) -> dict[str, FetchedFile]:
    """The records by file name; empty if missing or damaged, and then the MD5s are compared instead."""
    try:
        return RecordsType.validate_json(read_file(home / RECORDS))
    except (FileNotFoundError, ValueError):
        return {}


def write_record(home: Path, wanted: Download) -> None:
    """Record a file whose MD5 was just verified."""
    path = home / wanted.file
    records = {**read_records(home), wanted.file: FetchedFile(wanted.md5, sha256_file(path), file_size(path))}
    write_atomic(home / RECORDS, readable_json(RecordsType.dump_python(records)))


class DownloadProgress:
    """The progress of downloading several files, in megabytes.

    Attributes:
        listen: receives the progress.
    """

    def __init__(self, task: str, files: Sequence[Download], listen: Listener) -> None:
        self.task, self.listen = task, listen
        self.sizes = {each.file: each.size or 0 for each in files}  # corrected by what the servers say
        self.received: dict[str, int] = {}
        self.meter = ProgressMeter(sum(self.sizes.values()))

    def on_bytes(self, file: str, have: int, size: int | None) -> None:
        """`have` of the `size` bytes of `file` are there; a file's first call counts as downloaded earlier."""
        if file in self.received:
            self.meter.advance(max(have - self.received[file], 0))
        else:
            self.meter.skip(have)
        self.received[file] = have
        self.sizes[file] = max(size or self.sizes[file], have)
        self.meter.total, self.meter.done = sum(self.sizes.values()), sum(self.received.values())
        done, total = to_megabytes(self.meter.done), to_megabytes(self.meter.total)
        self.listen(Progress(self.task, done, total, eta=self.meter.eta))


def to_megabytes(count: float) -> int:
    """Bytes in whole MB, rounded up, so 0 means no bytes at all."""
    return math.ceil(count / MB)
