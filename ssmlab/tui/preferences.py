"""The settings that the TUI keeps between sessions, and the user's own keys.

The TUI writes runs/tui.json in the project: theme, layout, and for every study its filter, order, pins and folds. The
user writes tui.toml in the user's configuration folder: keys, and whether alerts ring the bell.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ssmlab.core.errors import UserError
from ssmlab.core.files import read_file, write_atomic
from ssmlab.core.json_text import readable_json
from ssmlab.tui.arrange import Arrangement
from ssmlab.tui.series import AXES, SMOOTHING


@dataclass
class Preferences:
    """The kept settings.

    Attributes:
        theme: a Textual theme.
        axis, window: x axis and smoothing of the curves.
        panes: whether curves and log are shown.
        studies: the arrangement of the table, by study.
    """

    theme: str = ""
    axis: str = "epoch"
    window: int = 1
    panes: bool = True
    studies: dict[str, dict[str, Any]] = field(default_factory=dict)

    def next_axis(self) -> None:
        """Switch the curves to the next x axis."""
        known = self.axis in AXES
        self.axis = AXES[(AXES.index(self.axis) + 1) % len(AXES)] if known else AXES[0]

    def next_window(self) -> None:
        """Switch the curves to the next width of the moving mean; after the widest, to no smoothing."""
        self.window = next((window for window in SMOOTHING if window > self.window), SMOOTHING[0])

    def arrangement(self, study: str) -> Arrangement:
        """The last arrangement of a study's table; the default if none is known."""
        if study not in self.studies:
            return Arrangement()
        try:
            return TypeAdapter(Arrangement).validate_python(self.studies[study])
        except ValidationError:
            return Arrangement()

    def remember(self, study: str, arrangement: Arrangement) -> None:
        """Keep the arrangement of a study's table."""
        self.studies[study] = {**asdict(arrangement), "folded": sorted(arrangement.folded)}


def preferences_path(root: Path) -> Path:
    """The file with the kept settings, beside the live folders of the studies."""
    return root / "runs" / "tui.json"


def load_preferences(root: Path) -> Preferences:
    """The kept settings; the defaults if there is no file that this version can read."""
    try:
        return TypeAdapter(Preferences).validate_json(read_file(preferences_path(root)))
    except (OSError, ValidationError):
        return Preferences()


def save_preferences(root: Path, preferences: Preferences) -> None:
    """Write the settings if they have changed.

    Raises:
        UserError: the file cannot be written.
    """
    text = readable_json(json.loads(json.dumps(asdict(preferences))))
    path = preferences_path(root)
    if not path.is_file() or read_file(path).decode(errors="replace") != text:
        write_atomic(path, text, durable=False)


@dataclass(frozen=True)
class KeySettings:
    """The user's settings: keys by the name of their action (`compare = "C"`), and whether alerts ring the bell."""

    keys: Mapping[str, str] = field(default_factory=dict)
    bell: bool = False


def keys_path() -> Path:
    """The user's tui.toml."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "ssmlab" / "tui.toml"


def load_keys(path: Path) -> KeySettings:
    """The user's settings; the defaults if there is no file.

    Raises:
        UserError: the file is not valid.
    """
    try:
        value = tomllib.loads(read_file(path).decode())
    except FileNotFoundError:
        return KeySettings()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: cannot be read as TOML ({error}); fix it or move it away") from None
    try:
        return TypeAdapter(KeySettings).validate_python(value)
    except ValidationError:
        raise UserError(f'{path}: needs `bell = true` and a table [keys] with lines such as `compare = "C"`') from None
