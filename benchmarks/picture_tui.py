"""Makes the pictures of docs/tui.md: every screen of `ssmlab tui` over a project that has been run.

    python benchmarks/picture_tui.py PROJECT [--to docs/images]

The pictures in docs/ are of the smoke study with 16 epochs and with `ads` in three seeds (`ads-s0` to `ads-s2`). Keys
are pressed as by a user; each screen is given time to read its files and, for the samples, to attack a few images.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from record_tui import screen_words
from textual.pilot import Pilot

from ssmlab.tui.app import StudyApp

ROOT = Path(__file__).resolve().parents[1]
SIZE = (120, 36)
# picture: keys from the table of runs, and what must be on the screen then
SCREENS = {
    "runs": (("a",), "ssm  ★ best"),
    "curves": (("2", *["left"] * 4), "epoch 1"),
    "pipeline": (("4",), "up to date"),
    "report": (("5",), "Verdicts"),
    "system": (("6",), "load"),
    "alerts": (("8",), "!"),
    "samples": (("home", "i"), "% sure"),
    "edit": (("e",), "regime"),
    "compare": (("a", "home", "space", "down", "down", "space", "c"), "against ssm"),
}
PATIENCE = 120.0  # seconds that a screen may take


async def until_shown(pilot: Pilot[None], text: str) -> None:
    """Wait until a text is on the screen and nothing changes any more; raises SystemExit if it does not come."""
    waited = 0.0
    while text not in screen_words(pilot.app):  # type: ignore[arg-type]
        if waited > PATIENCE:
            raise SystemExit(f"{text!r} is not on the screen")
        await asyncio.sleep(0.5)
        waited += 0.5
    await asyncio.sleep(3.0)


async def take(project: Path, folder: Path) -> None:
    """Take the pictures one after the other."""
    app = StudyApp(project)
    async with app.run_test(size=SIZE) as pilot:
        await until_shown(pilot, "★ best")
        for name, (keys, text) in SCREENS.items():
            for key in keys:
                await pilot.press(key)
            await until_shown(pilot, text)
            picture = app.export_screenshot(title="ssmlab tui").replace(str(project.resolve()), "PROJECT")
            (folder / f"tui-{name}.svg").write_text(picture, encoding="utf-8")
            while len(app.screen_stack) > 1:
                await pilot.press("escape")
                await asyncio.sleep(1.0)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images")
    options = parser.parse_args()
    asyncio.run(take(options.project, options.to))


if __name__ == "__main__":
    main()
