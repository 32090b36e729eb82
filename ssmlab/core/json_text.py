"""JSON values as text: equal values give equal bytes, and NaN is refused."""

from __future__ import annotations

import json
from typing import Any


def canonical_json(value: Any) -> str:
    """A JSON value as text: sorted keys, no spaces, no NaN. Equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def readable_json(value: Any) -> str:
    """`canonical_json` laid out for people, one key per line. Equal values still give equal bytes."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
