"""Without SciPy or pandas: what to install."""

import subprocess
import sys

import numpy as np
import pytest

from afa_core.timeseries import Filter


def test_scipy():
    code = "import sys; sys.modules['scipy'] = None; import afa_core.timeseries"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = found.stderr.splitlines()[-1]
    assert last.startswith("ImportError: `afa_core.timeseries` needs scipy")
    assert "pip install 'afa-core[timeseries]'" in last


def test_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    found = Filter(0.0, 0.3, 1.0).filter(np.arange(4.0), np.arange(4.0))
    with pytest.raises(ImportError, match=r"`to_frame` needs pandas\. Install it"):
        found.to_frame()
