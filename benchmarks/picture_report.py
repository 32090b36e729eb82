"""Makes the pictures of docs/report.md from a report: on a wide and a narrow screen, in dark, and printed.

apt-get install chromium poppler-utils && pip install playwright pillow      # playwright is not in the lock
python benchmarks/picture_report.py results/mnist5k/report.html docs/images
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

# name, width and height of the window in pixels, colours, and the scale of the picture
SCREENS = (("1200", 1200, 1500, "light", 0.6), ("400", 400, 1900, "light", 0.75), ("dark", 1200, 1500, "dark", 0.6))
PAGES = 2  # of the printed report, side by side
COLOURS = 256  # of a picture; the files become a third


def screens(browser: Any, report: Path, folder: Path) -> None:
    """The beginning of the report on each screen."""
    for name, width, height, scheme, scale in SCREENS:
        tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        tab.goto(report.resolve().as_uri())
        tab.screenshot(path=folder / "screen.png")
        save(Image.open(folder / "screen.png"), scale, f"report-{name}.png", folder)
        tab.close()


def printed(browser: Any, report: Path, folder: Path) -> None:
    """The first pages of the report as it is printed."""
    tab = browser.new_page()
    tab.goto(report.resolve().as_uri())
    tab.pdf(path=folder / "report.pdf", format="A4")
    subprocess.run(["pdftoppm", "-r", "60", "-l", str(PAGES), "-png", "report.pdf", "page"], cwd=folder, check=True)
    pages = [Image.open(page).convert("RGB") for page in sorted(folder.glob("page-*.png"))[:PAGES]]
    sheet = Image.new("RGB", (sum(page.width for page in pages) + 10 * (len(pages) - 1), pages[0].height), "#888888")
    for index, page in enumerate(pages):
        sheet.paste(page, (index * (page.width + 10), 0))
    save(sheet, 1.0, "report-print.png", folder)


def save(picture: Image.Image, scale: float, name: str, folder: Path) -> None:
    """Write a picture in few colours."""
    size = (round(picture.width * scale), round(picture.height * scale))
    picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).quantize(COLOURS).save(folder / name, optimize=True)


def main(report: Path, images: Path) -> None:
    from playwright.sync_api import sync_playwright  # not in the lock

    with tempfile.TemporaryDirectory() as made, sync_playwright() as play:
        folder = Path(made)
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        screens(browser, report, folder)
        printed(browser, report, folder)
        for picture in sorted(folder.glob("report-*.png")):
            shutil.copy(picture, images)
            print(f"{images / picture.name}: {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
