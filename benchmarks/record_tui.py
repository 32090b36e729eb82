"""Records a session of `ssmlab tui` over a real smoke training as one animated SVG: docs/images/tui-session.svg.

    python benchmarks/record_tui.py [--epochs 20] [--to FILE.svg]

The smoke study is copied to a temporary folder and its data prepared. The laboratory runs in this process, driven by
the keys in `record`, and launches `dvc repro` as it does for a user. Each frame is what stood on the terminal; a line
that several frames share is written once, which keeps the file small. The animation is CSS, which an <img> plays too.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from textual.pilot import Pilot

from ssmlab.tui.app import StudyApp

ROOT = Path(__file__).resolve().parents[1]
SIZE = (100, 30)
CELL, LINE = 8.4, 17.0  # pixels of a character and of a line at FONT
FONT = 14
Frame = tuple[list[str], float]  # a piece of SVG for every line, and the seconds that they are shown


def make_project(root: Path, epochs: int) -> None:
    """The smoke study with this number of epochs, its data prepared."""
    shutil.copytree(ROOT / "ssmlab", root / "ssmlab", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    text = (ROOT / "studies" / "smoke.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("epochs: 2", f"epochs: {epochs}"))
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=root, check=True)
    subprocess.run([sys.executable, "-m", "ssmlab", "prepare"], cwd=root, check=True, capture_output=True)


class Recorder:
    """Takes frames of an app."""

    def __init__(self, app: StudyApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot
        self.frames: list[Frame] = []

    def take(self, seconds: float) -> None:
        """Keep the content of the terminal as a frame with this duration; equal frames are merged."""
        lines = styled_lines(self.app)
        if self.frames and self.frames[-1][0] == lines:
            self.frames[-1] = (lines, self.frames[-1][1] + seconds)
        else:
            self.frames.append((lines, seconds))

    async def press(self, *keys: str, seconds: float = 1.6) -> None:
        """Press keys, wait until the screen is quiet, take a frame."""
        for key in keys:
            await self.pilot.press(key)
        await asyncio.sleep(1.0)
        self.take(seconds)

    async def watch(self, done: Callable[[], bool], every: float, seconds: float, most: float) -> None:
        """Take frames until a condition holds or `most` seconds have passed."""
        end = time.monotonic() + most
        while not done() and time.monotonic() < end:
            self.take(seconds)
            await asyncio.sleep(every)
        self.take(seconds)


def styled_lines(app: StudyApp) -> list[str]:
    """The terminal as one piece of SVG a line: rectangles of colour, and text."""
    return [styled_line(strip) for strip in app.screen._compositor.render_strips()]


def screen_words(app: StudyApp) -> str:
    """The text on the terminal."""
    return " ".join(strip.text for strip in app.screen._compositor.render_strips())


def styled_line(strip: object) -> str:
    """A strip as SVG; every piece is placed by its column, whatever font draws it."""
    shapes, texts, column = [], [], 0
    for segment in strip:  # type: ignore[attr-defined]
        width, style = segment.cell_length, segment.style
        x = f"{CELL * column:.0f}"
        if style and style.bgcolor and style.bgcolor.triplet:
            shapes.append(
                f'<rect x="{x}" width="{CELL * width + 0.6:.0f}" height="17" fill="{style.bgcolor.triplet.hex}"/>'
            )
        if segment.text.strip():
            colour = style.color.triplet.hex if style and style.color and style.color.triplet else "#e0e0e0"
            bold = ' font-weight="bold"' if style and style.bold else ""
            length = f' textLength="{CELL * width:.0f}"'
            texts.append(f'<text x="{x}" y="13" fill="{colour}"{bold}{length}>{html.escape(segment.text)}</text>')
        column += width
    return "".join(shapes + texts)


def animated(frames: list[Frame]) -> str:
    """All frames as one SVG that plays for ever; a line that is the same in several frames is defined once."""
    known: dict[str, str] = {}
    for lines, _ in frames:
        for line in lines:
            known.setdefault(line, f"l{len(known)}")
    total, begun, groups, rules = sum(seconds for _, seconds in frames), 0.0, [], []
    for number, (lines, seconds) in enumerate(frames):
        rules.append(shown_between(f"f{number}", begun, begun + seconds, total))
        begun += seconds
        uses = "".join(f'<use href="#{known[line]}" y="{LINE * y:.0f}"/>' for y, line in enumerate(lines) if line)
        groups.append(f'<g id="f{number}">{uses}</g>')
    width, height = CELL * SIZE[0], LINE * SIZE[1]
    defined = "".join(f'<g id="{name}">{line}</g>' for line, name in known.items())
    style = f"text{{font:{FONT}px monospace;white-space:pre}}{''.join(rules)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"><style>{style}</style>'
        f'<rect width="100%" height="100%" fill="#1e1e1e"/><defs>{defined}</defs>{"".join(groups)}</svg>\n'
    )


def shown_between(name: str, begin: float, end: float, total: float) -> str:
    """The CSS that shows an element between two seconds of an animation."""
    first, last = f"{100 * begin / total:.3f}%", f"{100 * end / total:.3f}%"
    hidden, visible = "{visibility:hidden}", "{visibility:visible}"
    steps = f"0%,{first}{hidden}{first},{last}{visible}{last},100%{hidden}"
    return f"@keyframes {name}{{{steps}}}#{name}{{animation:{name} {total:.1f}s step-end infinite}}"


async def record(root: Path) -> list[Frame]:
    """The session: launch a run, watch it train, read its curves, look at the pipeline and the keys."""
    app = StudyApp(root)
    async with app.run_test(size=SIZE) as pilot:
        recorder = Recorder(app, pilot)

        def state() -> str:
            view = app.look.run("ads") if app.look else None
            return view.status.state if view else ""

        await recorder.watch(lambda: state() != "", 0.2, 0.1, 60)
        await recorder.press(seconds=1.5)
        await recorder.press("end")
        await recorder.press("r")
        await recorder.watch(lambda: state() == "training", 1.0, 0.3, 120)
        await recorder.watch(lambda: state() != "training", 2.5, 0.7, 150)
        await recorder.watch(lambda: state() in ("finished", "failed"), 3.0, 0.5, 60)
        await recorder.press("2")
        await recorder.press("left", "left", "left")
        await recorder.press("escape", "4", seconds=0.5)
        await recorder.watch(lambda: "up to date" in screen_words(app), 1.0, 0.3, 60)
        recorder.take(2.5)
        await recorder.press("escape", "question_mark", seconds=2.5)
        await recorder.press("escape", seconds=2.0)
    return recorder.frames


def main() -> None:
    """Record and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images" / "tui-session.svg")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_project(Path(folder), options.epochs)
        frames = asyncio.run(record(Path(folder)))
    text = re.sub(re.escape(folder), "PROJECT", animated(frames))
    options.to.write_text(text)
    print(f"{options.to}: {len(frames)} frames, {len(text.encode()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
