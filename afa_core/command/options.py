"""Types of options for argparse: each refuses what the commands cannot use, and says what they can.

Argparse puts the name of the option before the message.
"""

from __future__ import annotations

import codecs
import math
from argparse import ArgumentTypeError
from collections.abc import Callable


def _number(condition: str, holds: Callable[[float], bool]) -> Callable[[str], float]:
    """Return a type of finite numbers for which a condition holds."""

    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and holds(number)):
            msg = f"must be {condition}, got {text!r}."
            raise ArgumentTypeError(msg)
        return number

    return parse


finite = _number("a finite number", lambda x: True)
nonzero = _number("a finite number other than 0", lambda x: x != 0.0)
non_negative = _number("a finite number ≥ 0", lambda x: x >= 0.0)
positive = _number("a finite number > 0", lambda x: x > 0.0)
probability = _number("a number between 0 and 1, such as 0.95", lambda x: 0.0 < x < 1.0)


def count(text: str) -> int:
    """Return a whole number ≥ 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        msg = f"must be a whole number ≥ 1, got {text!r}."
        raise ArgumentTypeError(msg)
    return number


def separator(text: str) -> str:
    r"""Return the character that separates cells; ``\t`` may be written as two characters."""
    character = "\t" if text == r"\t" else text
    if len(character) != 1 or character in '"\r\n\0':
        msg = rf"must be one character, such as ';' or '\t', and no quotation mark, got {text!r}."
        raise ArgumentTypeError(msg)
    return character


def encoding(text: str) -> str:
    """Return the name of an encoding of text that Python has."""
    try:
        codecs.lookup(text)
        b" ".decode(text, errors="replace")  # refuses codecs of bytes, such as base64
    except (LookupError, ValueError) as error:
        msg = f"must be an encoding such as utf-8, utf-16 or cp1252, got {text!r}."
        raise ArgumentTypeError(msg) from error
    return text


def date_format(text: str) -> str:
    """Return a format of dates, with directives of `strptime`."""
    if "%" not in text:
        msg = f"must hold directives, as '%Y-%m-%d %H:%M' does, got {text!r}."
        raise ArgumentTypeError(msg)
    return text
