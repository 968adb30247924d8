"""Names and pages use the field's terms; words that have a standard term are not used."""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = ("afa_core", "backends", "conformance", "tests", "docs/examples", "docs/gallery")
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md")

# Each table: a pattern of the word, and the standard term. Words of names and of prose.
WORDS = {
    "borne": "carried",
    "cargo": "shard",
    "contenders?": "candidate",
    "freight": "packed shard",
    "judg(e|es|ed|ing)": "test, under test",
    "ledgers?": "recorder",
    "planted": "mutant",
    "rivals?": "baseline",
    "spoil(s|t|ed|ing)?": "non-finite, propagate NaN",
    "spotless": "all finite",
}

# Words of names only, in snake_case or CamelCase.
PARTS = {
    "asked": "query",
    "bends?": "derivative",
    "cooled": "scaled_logits",
    "fills": "buffer ownership",
    "forget(s)?": "evict",
    "instruments": "profiling",
    "plant": "mutant",
    "realis(e|ed|ing)": "sampling",
    "rings": "ring attention",
    "rooms": "workspace",
    "sight": "visibility",
    "sloped": "requires_grad",
    "told": "given",
    "turn(s|ed)": "rotated, phases",
    "unturned": "unrotated",
    "wanted": "required",
}

# Whole names.
NAMES = {
    "Arrival": "NewTokens",
    "Attending": "AttentionBase",
    "BACK|Back|way_back": "BACKWARD, Backward",
    "Gather(ed)?": "GradAccumulator",
    "Given": "TileContext",
    "How|how": "RunOptions, options",
    "LEAST": "MIN_ and what it bounds",
    "Writing": "output specification",
    "Sets|sets": "components",
    "agreement": "rank_checks",
    "by_[a-z]": "grad_ of the name",
    "claim(s|ed)?": "untempered sum, estimated",
    "o": "operands",
    "pass_on": "send",
    "precise": "return_precision",
    "tempered": "has_temperature",
    "turn": "rotate",
}

# Phrases of prose, in any case and over the ends of lines.
PHRASES = {
    "(way|ways) back": "backward pass",
    "(is|are|was|were|been) told": "is given",
    "asked of": "required",
    "claimed (sd|standard deviations?)": "estimated standard deviation",
    "height of (a|its|the) process": "peak resident memory",
    "(keys|values|queries|tokens|rows|arrays|tensors) (know|say|tell|travel|claim)": "are, have",
    "(key|value|query|token|row|array|tensor|mask) (knows|says|tells|travels|claims)": "is, has",
    "keys go round": "ring attention",
    "(does|do) not (know|tell)": "does not have",
    "(leave|leaves|leaving|left) behind": "what remains",
    "panels? of (keys|queries)": "key block, query block",
    "padding is said": "padding is given",
    "resident memory's height": "peak resident memory",
    "runtimes that have no arrays": "runtimes without an array library",
    "turned back": "unrotated",
    "weights to look at": "attention weights for inspection",
}


GAP = r'[#>*"\s]+'
"""What may stand between two words of a phrase."""


def sources() -> Iterator[Path]:
    """Yield the modules and the pages, but for this module."""
    for folder in CODE:
        yield from (ROOT / folder).rglob("*.py")
    yield from (path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)
    yield from (ROOT / name for name in ("noxfile.py", *PAGES))


def names_in_code(text: str) -> Iterator[tuple[int, str]]:
    """Yield the names that a module defines, with their lines; none if all its words may stay."""
    if not any(map(term_of, set(re.findall(r"\w+", text)))):
        return
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name


def names_in_page(text: str) -> Iterator[tuple[int, str]]:
    """Yield the names in backticks, with their lines."""
    for match in re.finditer(r"`(\w+)`", text):
        yield line_of(match), match[1]


def line_of(match: re.Match[str]) -> int:
    return match.string.count("\n", 0, match.start()) + 1


@cache
def term_of(name: str) -> str | None:
    """Return the standard term of a name, None if the name may stay."""
    parts = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    for table, candidates in ((NAMES, [name]), (WORDS | PARTS, parts)):
        for pattern, term in table.items():
            if any(re.fullmatch(pattern, each) for each in candidates):
                return term
    return None


def prose_pattern() -> re.Pattern[str]:
    """Return a pattern of all words and phrases, a named group each."""
    spaced = [pattern.replace("(", "(?:").replace(" ", GAP) for pattern in WORDS | PHRASES]
    groups = [f"(?P<t{index}>{pattern})" for index, pattern in enumerate(spaced)]
    return re.compile(rf"\b(?:{'|'.join(groups)})\b", re.IGNORECASE)


PROSE = prose_pattern()
TERMS = list((WORDS | PHRASES).values())


def found(text: str, names: Iterable[tuple[int, str]]) -> list[tuple[int, str, str]]:
    """Return the line, the words and the standard term of all that should be written otherwise."""
    hits = [(line, name, term) for line, name in names if (term := term_of(name))]
    for match in PROSE.finditer(text):
        hits.append((line_of(match), " ".join(match[0].split()), TERMS[int(match.lastgroup[1:])]))
    return sorted(set(hits))


def found_in(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    names = names_in_code(text) if path.suffix == ".py" else names_in_page(text)
    return [
        f"{path.relative_to(ROOT)}:{line}: {words!r}; the standard term is {term!r}"
        for line, words, term in found(text, [(1, path.stem), *names])
    ]


def test_names_and_pages_use_the_standard_terms():
    hits = [hit for path in sources() if path != Path(__file__) for hit in found_in(path)]
    assert not hits, "\n".join([f"{len(hits)} words:", *hits])


def test_names_are_found_by_their_words():
    code = "class CarriedBorne: ...\ndef turned_back(precise, spoiltKeys): o = returned = Gap\n"
    assert [words for _, words, _ in found("", names_in_code(code))] == [
        *("CarriedBorne", "o", "precise", "spoiltKeys", "turned_back")
    ]


def test_phrases_are_found_over_the_ends_of_lines():
    text = "# The way\n# back to the keys,\n# which are spoilt.\n"
    assert [hit[:2] for hit in found(text, [])] == [(1, "way # back"), (3, "spoilt")]


def test_texts_have_no_control_characters():
    """What is left of a formula where `\\r` of `\\rvert` was taken for a carriage return."""
    pattern = re.compile(rb"[^\n\x20-\xff]")
    assert not [path for path in sources() if pattern.search(path.read_bytes())]
