"""Reads ordinary YAML by libyaml, in a tenth of the time that ruamel.yaml's Python takes.

libyaml's own values are those of YAML 1.1, where `on` is true and `1e-3` is text, but DVC reads params.yaml as YAML
1.2. So only libyaml's events are used, and the kinds of plain text that studies consist of are given their value here.
Everything else (anchors, tags, dates, hexadecimal numbers, keys that occur twice, errors) is left to ruamel.yaml.
"""

from __future__ import annotations

import re
from typing import Any

DEEPEST = 32  # levels; our own files have 8
WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
ANY_CASE = re.compile("(?i:~|null|true|false|y|n|yes|no|on|off)|=|<<")  # values in some YAML, unless in WORDS
WHOLE = re.compile("[-+]?(0|[1-9][0-9]*)")
DECIMAL = re.compile(r"[-+]?[0-9]+(\.[0-9]*(e[-+]?[0-9]+)?|e[-+]?[0-9]+)")
TEXT_WITH_DIGITS = re.compile("[0-9]+(/[0-9]+|[^:]* [a-z]{2}.*)")  # 8/255; "60 epochs are better"
STRANGE = re.compile("[\t\r\x85\u2028\u2029\ufeff]")  # white space that YAML 1.1 and 1.2 treat differently


class NotOrdinaryError(Exception):
    """The text has something that only a complete YAML reader should judge."""


def quick_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        NotOrdinaryError: the text is not YAML or has something out of the ordinary, or libyaml is not installed.
    """
    try:
        from yaml.cyaml import CParser
        from yaml.error import YAMLError
    except ImportError:
        raise NotOrdinaryError from None
    if STRANGE.search(text) or "%" in text[:1] or "\n%" in text:
        raise NotOrdinaryError
    try:
        return document_value(CParser(text))
    except (YAMLError, UnicodeError, ValueError):
        raise NotOrdinaryError from None


def document_value(parser: Any) -> Any:
    """The value of the only document of a parser."""
    event = named(parser)
    if event[0] != "StreamStartEvent" or named(parser)[0] != "DocumentStartEvent":
        raise NotOrdinaryError
    value = node_value(parser, named(parser), 0)
    if [named(parser)[0], named(parser)[0]] != ["DocumentEndEvent", "StreamEndEvent"]:
        raise NotOrdinaryError
    return value


def named(parser: Any) -> tuple[str, Any]:
    """The kind of the next event, and the event."""
    event = parser.get_event()
    return type(event).__name__, event


def node_value(parser: Any, named_event: tuple[str, Any], depth: int) -> Any:
    """The value of the node that begins with this event."""
    kind, event = named_event
    if kind == "AliasEvent" or event.anchor is not None or event.tag is not None or depth > DEEPEST:
        raise NotOrdinaryError
    if kind == "ScalarEvent":
        return scalar_value(event.value) if event.implicit[0] else event.value
    if kind == "SequenceStartEvent":
        items = []
        while (found := named(parser))[0] != "SequenceEndEvent":
            items.append(node_value(parser, found, depth + 1))
        return items
    mapping: dict[str, Any] = {}
    while (found := named(parser))[0] != "MappingEndEvent":
        key = node_value(parser, found, depth + 1)
        if not isinstance(key, str) or key in mapping:
            raise NotOrdinaryError
        mapping[key] = node_value(parser, named(parser), depth + 1)
    return mapping


def scalar_value(text: str) -> Any:
    """The value of text without quotes."""
    if text in WORDS:
        return WORDS[text]
    if text[0] in "+-.0123456789":
        if WHOLE.fullmatch(text):
            return int(text)
        if DECIMAL.fullmatch(text):
            return float(text)
        if not TEXT_WITH_DIGITS.fullmatch(text):
            raise NotOrdinaryError
    elif ANY_CASE.fullmatch(text):
        raise NotOrdinaryError
    return text
