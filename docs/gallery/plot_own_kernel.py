r"""
Test your own kernel
====================

Attention written by hand, with one mistake in it that no plot would show. The
conformance suite finds it; mended, the same laws hold.

.. code-block:: sh

    python -m pip install -c constraints.txt '.[conformance]' matplotlib

A small kernel
--------------

Isotropic and causal, with Student-t weights, after §4 of the :doc:`specification
</specification>`. The suite imports a kernel by name, so it is written to a file. Can
you see the mistake?
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np

KERNEL = '''
import numpy as np


def attention(query, key, value, sde, *, weighting, query_times, key_times, **others):
    """Return the mean, shape (n, d_v), of complex tokens."""
    if query_times is None and key_times is None:  # the last is one token
        query_times, key_times = (np.arange(1 - len(x), 1) for x in (query, key))
    key_times = query_times if key_times is None else key_times
    query_times = key_times[-len(query) :] if query_times is None else query_times
    decay, dof = sde.decay, weighting.dof
    process, measurement, query_noise = sde.noise
    causal = np.tri(len(query), len(key), len(key) - len(query), dtype=bool)
    lag = np.where(causal, query_times[:, None] - key_times, 0)
    carried = np.exp((-decay + 1j * sde.frequency) * lag[..., None])  # e^{ΛΔ}
    decay_factor = np.exp(-decay * lag)
    propagated = process * -np.expm1(-2 * decay * lag) / (2 * decay)
    covariance = propagated + measurement * decay_factor + query_noise

    residual = query[:, None, :] - carried * key
    modes = query.shape[-1]
    distance = np.sum(np.abs(residual) ** 2, axis=-1) / covariance
    logits = -np.log(covariance) - (dof + 1) * np.log1p(distance / (dof * modes))
    logits -= np.max(logits, axis=-1, keepdims=True)
    weights = np.where(causal, np.exp(logits), 0)
    total = np.sum(weights, axis=-1, keepdims=True)
    weights /= np.where(total == 0, 1, total)  # a query may see no key
    return np.sum(weights[..., None] * carried * value, axis=-2)


attention.supports = {
    "form": ("isotropic",), "weighting": ("student",), "causal": (True,),
    "masked": (False,), "dtype": ("float64",), "layout": ("complex",),
    "gradients": (False,), "leading": ((),), "sharing": ("each",),
    "temperature": ("one",), "rotation": ("shared",), "decay": ("ordinary",),
    "noise": ("ordinary",), "modes": (2,), "value_modes": (2,),
}
'''

# %%
# ``supports`` says what the kernel can do: the suite draws nothing else, and reports
# laws that need more as unsupported. :doc:`/testing` lists the features.
#
# Put laws to it
# --------------
#
# The suite runs from the command line. All laws take some minutes; here are a few, each
# on ten random problems, the same at every run. ``--afa-report`` writes what was found
# as JSON.

LAWS = {
    "attention/test_units.py::*": "units do not matter",
    "attention/test_time_shift.py::*": "only differences of times matter",
    "attention/test_causality.py::test_prefix": "later tokens have no effect",
    "attention/test_first_token.py::*": "one visible key returns its value",
    "attention/test_linearity.py::*": "linear in the values",
    "attention/test_double_sum.py::test_any_regime": "the estimate of equation (3.1)",
}


def run_laws(source):
    """Return the report of the suite on a kernel, and what was printed."""
    with TemporaryDirectory() as folder:
        Path(folder, "kernel.py").write_text(source, encoding="utf-8")
        command = [sys.executable, "-m", "afa_conformance", "--afa-backend=numpy"]
        command += ["--afa-implementation=kernel:attention", "--afa-report=report.json"]
        command += ["--afa-examples=10", "--hypothesis-seed=0"]
        command += ["--tb=no", "-q", "-r", ""]
        command += [f"--afa-law={law}" for law in LAWS]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False
        )
        report = json.loads(Path(folder, "report.json").read_text(encoding="utf-8"))
    return report, done.stdout


before, printed = run_laws(KERNEL)
start = printed.index("= laws broken =")
print(printed[printed.rindex("\n", 0, start) + 1 :])
broken = [law for law, each in before["laws"].items() if "failed" in str(each["cases"])]
assert broken == ["attention/test_double_sum.py::test_any_regime"]

# %%
# The kernel keeps all symmetries: its weights are a fine average, of the wrong
# covariance. One law, which evaluates the equation pair by pair in 50 digits,
# disagrees, and not by rounding. It prints the smallest example that it found and a
# command that runs this example alone, for a debugger. The equation is (2.2),
#
# .. math:: \Sigma(\Delta)=V(\Delta)+\eta^2E(\Delta)^2+\gamma^2 ,
#
# and the kernel has :math:`\eta^2E`: a variance decays with the *square* of the decay
# factor.

after, printed = run_laws(
    KERNEL.replace("measurement * decay_factor", "measurement * decay_factor**2")
)
print(printed.splitlines()[-2])
assert after["counts"]["failed"] == 0
assert (
    after["counts"]["passed"] == before["counts"]["passed"] + before["counts"]["failed"]
)

# %%
# How near the tolerance
# ----------------------
#
# The report has the worst example of every law, its error and its tolerance: a few
# roundings times the condition of the problem.


def worst(report):
    """Return the greatest error over the tolerance of each law."""
    ratios = []
    for law in LAWS:
        name = law.partition("*")[0]
        found = (each for law, each in report["laws"].items() if law.startswith(name))
        cases = [
            case["worst"]
            for each in found
            for case in each["cases"].values()
            if "worst" in case
        ]
        ratios.append(max(case["error"] / case["tolerance"] for case in cases))
    return np.asarray(ratios)


figure, axis = plt.subplots(figsize=(8.0, 3.2))
places = np.arange(len(LAWS))
axis.plot(
    np.maximum(worst(before), 1e-4), places, "C1X", ms=10, label="with the mistake"
)
axis.plot(np.maximum(worst(after), 1e-4), places, "C0o", label="mended")
axis.axvline(1.0, color="black", ls="--", label="tolerance")
axis.set(
    xscale="log",
    xlabel="greatest error / tolerance",
    yticks=places,
    yticklabels=LAWS.values(),
)
axis.invert_yaxis()
figure.legend(loc="outside upper right", ncols=3)
plt.show()

# %%
# A law that holds exactly has the error 0, drawn at the left edge. :doc:`/testing`
# explains every option and outcome, other array libraries, GPUs, and lists the laws.
