"""Run the code of the guides that draw figures, which are saved in docs/figures.

Run ``python docs/examples/figures.py`` (it needs PyTorch), or with names of guides:
``python docs/examples/figures.py training``.
"""

import os
import re
import sys
from pathlib import Path

import matplotlib as mpl

DOCS = Path(__file__).resolve().parents[1]


def main(names):
    """Run every guide, or those with these names."""
    mpl.use("Agg")
    os.chdir(DOCS / "figures")
    for page in sorted(DOCS.glob("guides/*.md")):
        text = page.read_text("utf-8")
        if "savefig" not in text or (names and page.stem not in names):
            continue
        variables = {}
        for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
            exec(compile(code, page.name, "exec"), variables)


if __name__ == "__main__":
    main(sys.argv[1:])
