"""The bottom line of every screen: its most important keys. A click on a key presses it.

Textual's Footer creates a widget for every key, and creates all of them again whenever another widget gets the focus.
This takes a fifth of the time until the first screen is complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.widget import Widget


@dataclass(frozen=True)
class ShownKey:
    """A key on the line."""

    key: str
    display: str
    name: str
    enabled: bool

    @property
    def cells(self) -> int:
        """The number of cells that it needs."""
        return cell_len(f" {self.display} {self.name} ")


class KeyLine(Widget):
    """The keys of the screen that should be shown, in order; keys that do not fit are left out."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-line--key", "key-line--name"}

    def __init__(self) -> None:
        super().__init__(id="keys")
        self.keys: tuple[ShownKey, ...] = ()

    def on_mount(self) -> None:
        """Follow the keys of the screen."""
        self.screen.bindings_updated_signal.subscribe(self, lambda _: self.show_keys())

    def show_keys(self) -> None:
        """Draw the keys if they have changed."""
        by_action = {}
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.show and binding.action not in by_action:
                display = self.app.get_key_display(binding)
                by_action[binding.action] = ShownKey(binding.key, display, binding.description, active.enabled)
        keys = (*by_action.values(), *self.screens_key())
        if keys != self.keys:
            self.keys = keys
            self.refresh()

    def screens_key(self) -> list[ShownKey]:
        """`1-8 screens`, the digit keys as one; none if other keys were chosen for them. A click shows all keys."""
        bindings = [active.binding for active in self.screen.active_bindings.values()]
        digits = [each.key for each in bindings if each.action.startswith("go(")]
        if digits != [str(number) for number in range(1, len(digits) + 1)]:
            return []
        return [ShownKey("question_mark", f"1-{len(digits)}", "screens", True)]

    def render(self) -> Text:
        """`space mark  / filter  ...`"""
        key_style = self.get_component_rich_style("key-line--key")
        name_style = self.get_component_rich_style("key-line--name")
        text = Text(no_wrap=True)
        for shown in self.keys:
            if len(text) + shown.cells > self.size.width:
                break
            dim = "" if shown.enabled else "dim"
            text.append(f" {shown.display} ", key_style).append(f"{shown.name} ", name_style)
            text.stylize(dim, len(text) - len(shown.name) - 1)
        return text

    def on_click(self, event: events.Click) -> None:
        """Press the key that was clicked."""
        end = 0
        for shown in self.keys:
            end += shown.cells
            if event.x < end:
                if shown.enabled:
                    self.app.simulate_key(shown.key)
                return
