"""What the laboratory remembers between two sessions, and the keys that a reader has given it.

`runs/tui.json` of the project is written by the laboratory: theme, layout, and for every study its filter, order, pins
and folds. `tui.toml` in the user's configuration folder is written by the reader: other keys, and the bell.
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
from ssmlab.core.files import readable_json, write_atomic
from ssmlab.tui.arrange import Arrangement


@dataclass
class Preferences:
    """What is remembered. theme: a name of Textual's. axis, window, panes: how curves and panes stand."""

    theme: str = ""
    axis: str = "epoch"
    window: int = 1
    panes: bool = True
    studies: dict[str, dict[str, Any]] = field(default_factory=dict)

    def arrangement(self, study: str) -> Arrangement:
        """How the table of a study stood last; as it comes where that is not known."""
        try:
            return TypeAdapter(Arrangement).validate_python(self.studies.get(study, {}))
        except ValidationError:
            return Arrangement()

    def remember(self, study: str, arrangement: Arrangement) -> None:
        """Note how the table of a study stands now."""
        self.studies[study] = {**asdict(arrangement), "folded": sorted(arrangement.folded)}


def preferences_path(root: Path) -> Path:
    """Where the laboratory remembers, beside the live folders of the studies."""
    return root / "runs" / "tui.json"


def load_preferences(root: Path) -> Preferences:
    """What was remembered; the defaults where there is nothing, or nothing that this version can read."""
    try:
        return TypeAdapter(Preferences).validate_json(preferences_path(root).read_bytes())
    except (OSError, ValidationError):
        return Preferences()


def save_preferences(root: Path, preferences: Preferences) -> None:
    """Remember; raises UserError where the file cannot be written. Nothing is written if nothing has changed."""
    text = readable_json(json.loads(json.dumps(asdict(preferences))))
    path = preferences_path(root)
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_atomic(path, text, durable=False)


@dataclass(frozen=True)
class KeySettings:
    """The reader's own settings: keys by the name of their action (`compare = "C"`), and whether alerts ring."""

    keys: Mapping[str, str] = field(default_factory=dict)
    bell: bool = False


def keys_path() -> Path:
    """The user's tui.toml."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "ssmlab" / "tui.toml"


def load_keys(path: Path) -> KeySettings:
    """The reader's settings; the defaults where there is no file. Raises UserError where it is not as it should be."""
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return KeySettings()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: cannot be read as TOML ({error}); mend it or move it away") from None
    try:
        return TypeAdapter(KeySettings).validate_python(value)
    except ValidationError:
        raise UserError(f'{path}: needs `bell = true` and a table [keys] with lines such as `compare = "C"`') from None
