"""JSON files that show damage: each contains a digest of its own content, which every reader checks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssmlab.core.blocked_paths import cannot
from ssmlab.core.errors import UserError
from ssmlab.core.files import read_file, sha256_text
from ssmlab.core.json_text import canonical_json, readable_json

KEY = "digest"


def seal(document: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object with a digest of its content under the key "digest"; an existing digest is replaced."""
    content = {key: value for key, value in document.items() if key != KEY}
    return {**content, KEY: sha256_text(canonical_json(content))}


def check(document: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a sealed JSON object, without its digest.

    Raises:
        ValueError: the digest is missing or does not match the content. The message goes into an error about the file.
    """
    if KEY not in document:
        raise ValueError("it has no digest, so it cannot be checked for damage")
    if seal(document)[KEY] != document[KEY]:
        raise ValueError("its content does not match its digest: it is damaged or was edited")
    return {key: value for key, value in document.items() if key != KEY}


def sealed_json(document: Mapping[str, Any]) -> str:
    """The text of a sealed JSON object, one key per line; equal objects give equal text."""
    return readable_json(seal(document))


def read_sealed_json(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """The content of a file that `sealed_json` wrote, without its digest.

    The text must be exactly what `sealed_json` writes. The digest alone would miss changes that keep every value, such
    as `1e-05` to `1E-05`.

    Args:
        what: what the file should have been, for the error ("attack results").
        remedy: the command that creates it again ("run `ssmlab attack ads`").

    Raises:
        UserError: the file is missing, is not a JSON object, has no digest, or has been changed.
    """
    try:
        text = read_file(path).decode()
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("it is not a JSON object")
        content = check(document)
        if readable_json(document) != text:  # with the digest, which is right
            raise ValueError("it is damaged or was edited: its text differs from what ssmlab writes")
    except FileNotFoundError:
        raise UserError(f"{path}: not found ({what}); {remedy}") from None
    except OSError as error:
        raise UserError(f"{cannot(path, f'read as {what}', error)}; {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as {what} ({error}); {remedy}") from None
    return content
