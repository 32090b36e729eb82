"""Numbers that remember how they were written: eps and alpha."""

from __future__ import annotations

import math
from typing import Any, Self

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class WrittenFloat(float):
    """A number that remembers how it was written, so that `8/255` stays `8/255` in every file and table.

    It is a float in every computation; `text` is what the user typed, without spaces. Two numbers with the same value
    but different texts (`0.5`, `1/2`) are equal as numbers, but they give different fingerprints.
    """

    text: str

    def __new__(cls, value: str | float) -> Self:
        """Parse a number or a fraction `a/b`; raises ValueError on anything else, infinities and NaN included."""
        text = "".join(str(value).split())
        numerator, slash, denominator = text.partition("/")
        try:
            text.encode("ascii")  # float accepts digits of every script
            number = float(numerator) / float(denominator) if slash else float(text)
        except (ValueError, ZeroDivisionError):
            raise ValueError("a number or a fraction such as 8/255 is needed") from None
        if not math.isfinite(number):
            raise ValueError("a finite number is needed")
        self = super().__new__(cls, number)
        self.text = text
        return self

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]  # pickled and copied as what was written
        return (self.text,)

    def __repr__(self) -> str:
        return f"WrittenFloat({self.text!r})"

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def parse(value: Any) -> WrittenFloat:
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                raise ValueError("a number or a fraction such as 8/255 is needed")
            return value if isinstance(value, WrittenFloat) else cls(value)

        def dump(value: WrittenFloat) -> str | float | int:
            return value.text if "/" in value.text else float(value)

        return core_schema.no_info_plain_validator_function(
            parse, serialization=core_schema.plain_serializer_function_ser_schema(dump)
        )
