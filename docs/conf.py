"""How Sphinx builds this documentation."""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

project = "afa-core"
author = "The afa-core developers"
copyright = author
release = metadata.version("afa-core")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
]
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated"]
nitpicky = True

html_theme = "furo"
html_title = f"afa-core {release}"
html_show_copyright = False

# Docstrings give types in words, so signatures stay short and nothing needs to be resolved.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
default_role = "code"
numpydoc_show_class_members = False


def escape_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep |Δ| an absolute value, which reStructuredText would take for a substitution."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            literals = re.split(r"(``.*?``|`.*?`)", line)
            literals[::2] = [text.replace("|", "\\|") for text in literals[::2]]
            lines[i] = "".join(literals)


def skip_fields(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of NamedTuples: their class describes them as parameters."""
    doc = getattr(obj, "__doc__", None) or ""
    return True if doc.startswith("Alias for field number") else None


def setup(app: Any) -> None:
    """Connect the two hooks; bars are escaped after numpydoc has read the docstring."""
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
    app.connect("autodoc-skip-member", skip_fields)
