"""Replace a piece of code in one function, however it is spaced."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from textwrap import indent
from typing import NamedTuple

from functions import Span, spans

TOKEN = re.compile(
    r"""
    (?P<comment> \#[^\n]* )
    | (?P<token>
        [rbfu]{0,2} (?: \"{3} .*? \"{3} | '{3} .*? '{3} )
        | [rbfu]{0,2} (?: "(?:[^"\\\n]|\\.)*" | '(?:[^'\\\n]|\\.)*' )
        | \d [\w.]* (?: (?<=[eE]) [-+] \d+ )?
        | \w+
        | \*\*=? | //=? | -> | [:<>=!+*/%@|&^-]= | \S
    )
    """,
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
CLOSING = (")", "]", "}")


class MismatchError(LookupError):
    """The code to be replaced is not found once, or what replaces it changes nothing."""


def tokens(code: str, within: Span | None = None) -> list[tuple[str, Span]]:
    """Return the tokens of a piece of code and where they are, without commas before brackets."""
    found = TOKEN.finditer(code, *(within or ()))
    read = [(x["token"], Span(*x.span())) for x in found if x["token"] is not None]
    following = [*(text for text, _ in read[1:]), ""]
    return [
        each
        for each, after in zip(read, following, strict=False)
        if not (each[0] == "," and after in CLOSING)
    ]


def occurrences(source: str, function: str, code: str) -> list[Span]:
    """Return where a piece of code occurs in a function."""
    pattern = [text for text, _ in tokens(code)]
    found = []
    for part in spans(source, function):
        read = tokens(source, part)
        texts = [text for text, _ in read]
        for first in range(len(read) - len(pattern) + 1):
            last = first + len(pattern)
            if texts[first:last] == pattern:
                found.append(Span(read[first][1].start, read[last - 1][1].end))
    return found


@lru_cache(maxsize=64)
def _meaning(source: str) -> str:
    return ast.dump(ast.parse(source))


class Substitution(NamedTuple):
    """A piece of code of a function, and what replaces it.

    Parameters
    ----------
    replace, with_ : str
        Pieces of code, not necessarily whole expressions. How they are spaced and broken into
        lines makes no difference; lines of `with_` after its first are indented as the line on
        which `replace` begins.
    occurrence : int, optional
        Which one to replace, counted from 1, where `replace` occurs several times.
    """

    replace: str
    with_: str
    occurrence: int | None = None

    def apply(self, source: str, function: str) -> str:
        """Return the source of a module after the substitution in one of its functions.

        Raises
        ------
        MismatchError
            If `replace` does not occur, occurs several times without `occurrence`, or if the
            module means the same afterwards.
        """
        found = occurrences(source, function, self.replace)
        if len(found) != 1 if self.occurrence is None else len(found) < self.occurrence:
            expected = "once" if self.occurrence is None else f"{self.occurrence} times or more"
            parts = "\n".join(span.of(source) for span in spans(source, function))
            msg = f"expected {expected}, found {len(found)} times in\n{indent(parts, '    ')}"
            raise MismatchError(msg)
        at = found[(self.occurrence or 1) - 1]
        line = source[source.rfind("\n", 0, at.start) + 1 : at.start]
        margin = line[: len(line) - len(line.lstrip())]
        text = indent(self.with_, margin).removeprefix(margin)
        changed = source[: at.start] + text + source[at.end :]
        if _meaning(changed) == _meaning(source):
            msg = "what replaces it means the same"
            raise MismatchError(msg)
        return changed
