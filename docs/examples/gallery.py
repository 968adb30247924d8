"""Run the code of the gallery's pages, which draws their figures into docs/figures.

Run ``python docs/examples/gallery.py`` (seconds; it needs statsmodels and astropy-iers-data).
"""

import os
import re
from pathlib import Path

import matplotlib as mpl

DOCS = Path(__file__).resolve().parents[1]


def main():
    """Run every page."""
    mpl.use("Agg")
    os.chdir(DOCS / "figures")
    for page in sorted((DOCS / "gallery").glob("*.md")):
        names = {}
        for code in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL):
            exec(compile(code, page.name, "exec"), names)


if __name__ == "__main__":
    main()
