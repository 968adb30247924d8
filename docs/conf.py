"""Configuration of Sphinx."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util.inspect import signature, stringify_signature

sys.path.insert(0, str(Path(__file__).parent))  # for `gallery_settings`

project = "afa-core"
author = "The afa-core developers"
copyright = author
release = metadata.version("afa-core")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",  # MathJax in the build itself, so that no page needs a network
]
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "_generated", "gallery"]
nitpicky = True

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "tutorials",
    "within_subsection_order": "gallery_settings.ORDER",
    "reset_modules": ("matplotlib", "gallery_settings.set_style"),
    "abort_on_example_error": True,
    "capture_repr": (),
    "thumbnail_size": (480, 240),
    "download_all_examples": False,
    "min_reported_time": 600,
    "write_computation_times": False,
    "show_signature": False,
    "inspect_global_variables": False,
}

html_theme = "furo"
html_title = f"afa-core {release}"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["tables.css", "gallery.css"]

# Docstrings give types in words, so signatures stay short and nothing needs to be resolved.
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
default_role = "code"
numpydoc_show_class_members = False


def escape_bars(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Escape the bars of |Δ|, which reStructuredText would read as a substitution."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            literals = re.split(r"(``.*?``|`.*?`)", line)
            literals[::2] = [text.replace("|", "\\|") for text in literals[::2]]
            lines[i] = "".join(literals)


def skip_fields(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object
) -> bool | None:
    """Skip the fields of NamedTuples, which their class documents as parameters."""
    doc = getattr(obj, "__doc__", None) or ""
    return True if doc.startswith("Alias for field number") else None


def sign_by_init(
    app: Sphinx, what: str, name: str, obj: type, options: object, arguments: str, returned: str
) -> tuple[str, str] | None:
    """Return the signature of `__init__` for classes of Flax, whose metaclass hides it."""
    if what != "class" or arguments != "(*args, **kwargs)":
        return None
    own = signature(obj.__init__, bound_method=True)
    return stringify_signature(own, show_annotation=False), returned


def setup(app: Sphinx) -> None:
    """Connect all hooks; bars are escaped after numpydoc has read the docstring."""
    app.connect("autodoc-process-docstring", escape_bars, priority=900)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("autodoc-process-signature", sign_by_init)
