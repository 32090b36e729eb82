"""Download one file over HTTP. Received bytes are kept in a .part file, and the next try continues from there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from ssmlab.core.events import Listener, Note, silence
from ssmlab.core.version import __version__

CHUNK = 1 << 16  # bytes
BUSY = (408, 425, 429)  # the codes below 500 that ask for another try
# `identity`: some servers declare a .gz file to be a compressed transfer, and it would be unpacked on arrival
HEADERS = {"Accept-Encoding": "identity", "User-Agent": f"ssmlab/{__version__}"}

OnBytes = Callable[[int, int | None], None]
"""Called with the number of bytes in the .part file, and the final number if it is known."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long a download is tried.

    Attributes:
        tries: give up after this many tries in a row that received nothing.
        pause: seconds before the second try; it doubles each time.
        timeout: seconds to wait for a server that sends nothing.
    """

    tries: int = 4
    pause: float = 1.0
    timeout: float = 30.0


class DownloadError(Exception):
    """A download has failed; `again` says whether another try may succeed."""

    def __init__(self, reason: str, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


def download(url: str, part: Path, policy: RetryPolicy, on_bytes: OnBytes, listen: Listener = silence) -> None:
    """Download `url` into `part`, continuing after the bytes already there; broken connections are tried again.

    Raises:
        DownloadError: the download failed; what was received stays in `part`.
        OSError: `part` cannot be written.
    """
    most, fruitless = file_size(part), 0
    while True:
        try:
            return request(url, part, policy.timeout, on_bytes)
        except DownloadError as failure:
            fruitless = 0 if file_size(part) > most else fruitless + 1
            most = max(most, file_size(part))
            if not failure.again or fruitless >= policy.tries:
                raise
            pause = policy.pause * 2 ** max(fruitless - 1, 0)
            listen(Note(f"{failure}; trying again in {pause:.0f} s", warning=True))
            time.sleep(pause)


def request(url: str, part: Path, timeout: float, on_bytes: OnBytes) -> None:
    """One request: for the rest of the file if the server supports ranges, else for all of it.

    Raises:
        DownloadError: the request failed.
        OSError: `part` cannot be written.
    """
    have, host = file_size(part), urlsplit(url).hostname or url
    try:
        headers = {**HEADERS, "Range": f"bytes={have}-"} if have else HEADERS
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable and have:
                return check_complete(response.headers.get("Content-Range", ""), part)
            if response.status_code >= 400:
                code = response.status_code
                raise DownloadError(f"{host} answers {code} {response.reason}".rstrip(), code >= 500 or code in BUSY)
            goes_on = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if not goes_on:
                have = 0
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdecimal() else None
            on_bytes(have, total)
            with part.open("ab" if goes_on else "wb") as file:
                for chunk in response.raw.stream(CHUNK, decode_content=False):
                    file.write(chunk)
                    have += len(chunk)
                    on_bytes(have, total)
            if total is not None and have < total:  # urllib3 before version 2 does not say so
                raise DownloadError(f"{host} closed the connection too early", again=True)
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        raise DownloadError(f"{host} sent nothing for {timeout:g} s", again=True) from None
    except (requests.ConnectionError, urllib3.exceptions.HTTPError) as error:
        raise DownloadError(f"no connection to {host} ({root_cause(error)})", again=True) from None
    except requests.RequestException as error:  # a bad address, too many redirects
        raise DownloadError(f"{url}: {error}") from None


def check_complete(content_range: str, part: Path) -> None:
    """Raises DownloadError unless `part` is the complete file, according to "bytes */SIZE" (RFC 9110, 14.4)."""
    if content_range != f"bytes */{file_size(part)}":
        part.unlink()
        raise DownloadError(f"{part.name} was a part of another file and was removed", again=True)


def file_size(part: Path) -> int:
    """Bytes of a file; 0 if it is not there."""
    return part.stat().st_size if part.exists() else 0


def root_cause(error: BaseException) -> str:
    """The message of the first error in a chain, in the system's words."""
    while (under := error.__cause__ or error.__context__) is not None:
        error = under
    return str(getattr(error, "strerror", None) or error)
