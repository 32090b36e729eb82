"""Looks at every page of the documentation in headless Chromium, at 1,200 and at 400 pixels, in light and in dark.

    make docs
    apt-get install chromium && pip install playwright      # not in the lock: nothing else needs them
    python benchmarks/picture_site.py FOLDER

prints what is wrong with a page (it is wider than the window, a picture or a request fails, an error on the console)
and writes a picture of each into FOLDER. Two of the first page are in docs/images.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SITE = Path(__file__).parents[1] / "site"
WINDOWS = ((1200, "light"), (400, "light"), (1200, "dark"))
# The width that the page needs, and the pictures that did not load.
FAULTS = (
    "() => [document.documentElement.scrollWidth, [...document.images].filter(i => !i.naturalWidth).map(i => i.src)]"
)


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves the site without a line for every request."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def pages() -> list[str]:
    """The paths of all pages below the site."""
    return sorted(f"{page.parent.relative_to(SITE).as_posix()}/" for page in SITE.rglob("index.html"))


def faults(tab: Any, address: str, width: int) -> Iterator[str]:
    """Open a page and name what is wrong with it."""
    failed: list[str] = []
    tab.on("response", lambda answer: failed.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    tab.on("console", lambda said: failed.append(said.text) if said.type == "error" else None)
    tab.goto(address)
    needed, missing = tab.evaluate(FAULTS)
    yield from failed
    yield from (f"the picture {each} is missing" for each in missing)
    if needed > width:
        yield f"needs {needed} pixels"


def main(folder: Path) -> None:
    from playwright.sync_api import sync_playwright  # not in the lock

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width, scheme in WINDOWS:
            for page in pages():
                tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                for fault in faults(tab, f"http://127.0.0.1:{server.server_port}/{page}", width):
                    print(f"{page} at {width}, {scheme}: {fault}")
                name = page.strip("./").replace("/", "-") or "index"
                tab.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True)
                tab.close()
    print(f"{len(pages())} pages, {len(WINDOWS)} pictures of each in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
