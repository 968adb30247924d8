"""The options of the conformance suite: what they choose, refuse and report."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("hypothesis")
pytest.importorskip("mpmath")

import afa_core as afa
from afa_conformance.loading import load_subject
from afa_core.backend import load

TIME = "attention/test_units.py::test_unit_of_time"
VALUES = "attention/test_units.py::test_unit_of_values"
POSITIONS = "attention/test_default_times.py::test_positions_in_the_sequence"
REGIMES = "attention/test_double_sum.py::test_any_regime"
EXAMPLE = "description=Description(keys=1, causal=False, seed=7)"
KERNELS = """\
import afa_core


def right(*arguments, **options):
    return afa_core.attention(*arguments, **options)


def shifted(*arguments, **options):  # breaks the unit of values, not that of time
    return right(*arguments, **options) + 1.0


def single(*arguments, **options):
    return right(*arguments, **options)


def misdeclared(*arguments, **options):
    return right(*arguments, **options)


def with_precision(*arguments, **options):
    return tuple(afa_core.estimate(*arguments, **options))


def nothing(*arguments, **options):
    right(*arguments, **options)


def narrow(*arguments, **options):
    return right(*arguments, **options).astype("complex64")


def short(*arguments, **options):
    return right(*arguments, **options)[:-1, :]


def wrong_in_two_ways(query, key, *others, causal, **options):
    if causal:
        raise OverflowError("of causal queries")
    raise LookupError("of others")


def lost(*arguments, **options):
    return float("nan") * right(*arguments, **options)


def lost_estimate(*arguments, **options):
    return tuple(float("nan") * each for each in afa_core.estimate(*arguments, **options))


def lost_with_precision(*arguments, **options):
    return lost(*arguments, **options)


lost_with_precision.estimate = lost_estimate
lost.supports = lost_with_precision.supports = {"form": ("isotropic",), "layout": ("complex",)}
single.supports = {"form": ("isotropic",), "dtype": ("float32",), "causal": [True]}
misdeclared.supports = {"shape": ("isotropic",)}
number = 3
"""
REFUSE = """\
import sys

from afa_conformance.__main__ import main

usual = [each for each in sys.argv[1:] if "--afa" not in each or "report" in each]
for each in sys.argv[1:]:
    if each not in usual:
        status = main([*each.split(), *usual])
        print(f"refused with {status}", file=sys.stderr)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Write the kernels to a folder, work there and import them from it."""
    (tmp_path / "kernels.py").write_text(KERNELS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "kernels", raising=False)
    return tmp_path


@pytest.fixture
def run_laws(folder):
    """Return a function that runs the suite: exit status, output, and the report or None."""
    suite = ("-m", "afa_conformance")
    environment = {name: x for name, x in os.environ.items() if not name.startswith("PYTEST_")}

    def run(*options, start=suite):
        path = folder / "report.json"
        command = [sys.executable, *start, "-p", "no:cacheprovider", "--tb=short", *options]
        command += ["--hypothesis-profile=ci", f"--afa-report={path}"]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        text = path.read_text(encoding="utf-8") if path.exists() else "null"
        report = json.loads(text, parse_constant=pytest.fail)  # NaN is no JSON
        return done.returncode, done.stdout + done.stderr, report

    return run


def outcomes(report):
    """Return the outcome of every case, by its whole name."""
    return {
        name + case: found["outcome"]
        for name, law in report["laws"].items()
        for case, found in law["cases"].items()
    }


REFUSED = {
    "--afa-backend=nope": "`name` must be a registered backend ('cupy', ",
    "--afa-implementation=kernels:nope": "'module:function' that can be imported",
    "--afa-implementation=kernels:misdeclared": "may name 'form', ",
    "--afa-example=description=Nothing()": "`example` must be as a broken law printed it",
    "--afa-device=cuda:99": "`device` must be one of 'cpu' for backend 'numpy'",
    "--afa-dtype=float8": "choose from",
    f"--afa-law={TIME} --afa-law=attention/test_unit.py::*": (
        "--afa-law must be the name or a pattern of a law, got 'attention/test_unit.py::*'"
    ),
    "--afa-implementation=kernels:single --afa-dtype=float64": (
        "`dtype` must be one of 'float32' here, got 'float64'"
    ),
    "--afa-xfails=nope.txt": "nope.txt",
    "--afa-xfails=xfails.txt": f"xfails.txt:2: expected 'LAW  # reason', got '{VALUES}'",
}
"""Options, and what the message says; those of one process, one after another."""


def test_invalid_options_are_refused_before_any_law_is_run(run_laws, folder):
    (folder / "xfails.txt").write_text(f"# known\n{VALUES}\n", encoding="utf-8")
    (folder / "refuse.py").write_text(REFUSE, encoding="utf-8")
    status, output, report = run_laws(*REFUSED, start=("refuse.py",))
    assert status == 0
    assert report is None
    assert "Traceback" not in output
    *refusals, rest = output.split("refused with 4\n")
    assert not rest
    for message, refusal in zip(REFUSED.values(), refusals, strict=True):
        assert message in refusal


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nope", ValueError, r"'streaming', 'reference' or 'module:function', got 'nope'"),
        (":attention", ValueError, r"or 'module:function', got ':attention'"),
        ("absent:attention", ValueError, r"No module named 'absent'"),
        ("kernels:absent", ValueError, r"module 'kernels' has no attribute 'absent'"),
        ("kernels:number", TypeError, r"that can be called, got 'kernels:number': int"),
    ],
)
def test_invalid_implementation(name, error, message):
    with pytest.raises(error, match=message):
        load_subject(load("numpy"), name)


@pytest.mark.parametrize(
    ("supports", "message"),
    [
        (("isotropic",), r"`supports` of kernels:right must map names to tuples .* got tuple"),
        ({"shape": ("isotropic",)}, r"may name 'form', .*'gradients', .*got 'shape'"),
        ({"form": "isotropic"}, r"`supports\['form'\]` .* tuple of values .*, got 'isotropic'"),
        ({"form": ()}, r"`supports\['form'\]` .* tuple of values .*, got \(\)"),
        ({"form": ("isotropc",)}, r"among \('isotropic', .*\), got \('isotropc',\)"),
        ({"dtype": ("float99",)}, r"`supports\['dtype'\]` .*, got \('float99',\)"),
    ],
)
def test_invalid_supports(supports, message):
    import kernels

    kernels.right.supports = supports
    with pytest.raises(TypeError, match=message):
        load_subject(load("numpy"), "kernels:right")


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("tiles", 32, r"`tiles` of kernels:right must be a tuple of numbers of tokens, got 32"),
        ("tiles", ("a",), r"`tiles` of kernels:right must be a tuple"),
        ("rounds", 1, r"`rounds` of kernels:right must be True or False, got 1"),
        ("estimate", 5, r"`estimate` of kernels:right must be callable, got int"),
    ],
)
def test_invalid_attribute(attribute, value, message):
    import kernels

    setattr(kernels.right, attribute, value)
    with pytest.raises(TypeError, match=message):
        load_subject(load("numpy"), "kernels:right")


@pytest.mark.parametrize(
    ("implementation", "dtype", "eps"),
    [
        ("auto", "float64", 2.0**-52),
        ("auto", "bfloat16", 2.0**-23),
        ("triton", "bfloat16", 2.0**-7),
        ("triton", "float32", 2.0**-23),
    ],
)
def test_spacing_that_tolerances_are_in(implementation, dtype, eps):
    assert load_subject(load("numpy"), implementation).eps(dtype) == eps


def test_a_kernel_that_rounds_what_it_multiplies(folder):
    import kernels

    assert load_subject(load("numpy"), "kernels:right").eps("float16") == 2.0**-23
    kernels.right.rounds = True
    assert load_subject(load("numpy"), "kernels:right").eps("float16") == 2.0**-10


def test_a_module_that_fails_when_imported(folder):
    (folder / "driverless.py").write_text("raise RuntimeError('no driver')")
    with pytest.raises(ValueError, match=r"got 'driverless:attention': no driver"):
        load_subject(load("numpy"), "driverless:attention")


def test_supports_is_used():
    single = load_subject(load("numpy"), "kernels:single")
    assert single.dtype == "float32"
    assert single.refusal({"causal": False}) == "causal False"
    assert not single.refusal({"causal": True})
    assert single.lacks("precision")
    assert single.lacks("library")


def test_expected_failures(run_laws, folder):
    """A listed law that fails does not fail the run; one that passes does."""
    listed = folder / "xfails.txt"
    laws = (f"--afa-law={VALUES}", f"--afa-law={TIME}", f"--afa-example={EXAMPLE}")
    listed.write_text(f"# known\n\n{VALUES}  # adds one\n", encoding="utf-8")
    status, _, report = run_laws(
        f"--afa-xfails={listed}", "--afa-implementation=kernels:shifted", *laws
    )
    assert status == 0
    assert outcomes(report) == {
        f"{TIME}[0.001]": "passed",
        f"{TIME}[60.0]": "passed",
        f"{VALUES}[0.001]": "expected failure",
        f"{VALUES}[1000.0]": "expected failure",
    }
    cases = report["laws"][VALUES]["cases"]
    assert {each["reason"] for each in cases.values()} == {"adds one"}

    listed.write_text(f"{VALUES}  # adds one\n{TIME}[60.0]  # a mistake\n", encoding="utf-8")
    status, output, report = run_laws(
        f"--afa-xfails={listed}", "--afa-implementation=kernels:shifted", *laws
    )
    assert status == 1
    assert outcomes(report)[f"{TIME}[60.0]"] == "failed"
    assert outcomes(report)[f"{TIME}[0.001]"] == "passed"
    assert "XPASS" in output
    assert "a mistake" in output


def test_report_of_a_broken_law(run_laws):
    case = f"{VALUES}[1000.0]"
    status, output, report = run_laws("--afa-implementation=kernels:shifted", f"--afa-law={case}")
    assert status == 1
    assert report["under_test"]["implementation"] == "kernels:shifted"
    assert report["under_test"]["backend"] == "numpy"
    assert report["under_test"]["dtype"] == "float64"
    assert report["counts"] == {
        "passed": 0, "failed": 1, "expected failure": 0, "unsupported": 0, "skipped": 0
    }  # fmt: skip
    law = report["laws"][VALUES]
    assert "unit of values" in law["title"]
    assert "x̂ by c" in law["statement"]
    found = law["cases"]["[1000.0]"]
    assert found["failed"] == "description=Description()"  # which hypothesis ends with
    assert found["worst"]["error"] > found["worst"]["tolerance"] > 0.0
    assert "description=Description(" in found["worst"]["example"]
    assert law["statement"] in output
    assert f"--afa-law={case}" in output


RETURNED = {
    "with_precision": "got a tuple",
    "nothing": "got a NoneType",
    "narrow": r"got shape \(5, 2\) and complex64",
    "short": r"got shape \(4, 2\) and complex128",
}
"""What a kernel returns that is no mean, and how it is called."""


@pytest.mark.parametrize("kernel", RETURNED)
def test_what_is_no_mean_is_refused(kernel):
    subject, x = load_subject(load("numpy"), f"kernels:{kernel}"), np.ones((5, 2), complex)
    sde = afa.IsotropicSDE(0.1, 0.3, afa.Noise(0.1, 1.0, 1.0))
    expected = rf"kernels:{kernel} must return .* \(…, 5, 2\) of complex128 .*, {RETURNED[kernel]}"
    with pytest.raises(TypeError, match=expected):
        subject.attention(x, x, x, sde)


def test_one_of_several_errors_is_reported(run_laws):
    options = ("--afa-implementation=kernels:wrong_in_two_ways", f"--afa-law={REGIMES}")
    _, output, report = run_laws(*options)
    assert report["laws"][REGIMES]["cases"][""]["reason"].startswith(
        ("LookupError: of others", "OverflowError: of causal queries")
    )
    assert "ExceptionGroup" not in output


def test_report_of_what_is_unsupported(run_laws):
    dense, bound = "attention/test_dense_system.py::*", "kernel/test_monotone.py::*"
    laws = [f"--afa-law={each}" for each in (POSITIONS, dense, bound)]
    status, output, report = run_laws("--afa-implementation=kernels:single", *laws)
    assert status == 0
    assert report["under_test"]["dtype"] == "float32"
    assert report["under_test"]["supports"] == {
        "correlated": [False], "query_variance": [False], "tolerance": [False],
        "form": ["isotropic"], "dtype": ["float32"], "causal": [True],
    }  # fmt: skip
    (passed,) = (name for name, x in outcomes(report).items() if x == "passed")
    assert passed == POSITIONS
    assert report["counts"]["unsupported"] == len(outcomes(report)) - 1 >= 2
    reasons = {
        case["reason"]
        for name, law in report["laws"].items()
        for case in law["cases"].values()
        if name != POSITIONS
    }
    assert reasons >= {"the law is about other functions of afa_core"}
    assert f"1 passed, {report['counts']['unsupported']} unsupported" in output


def test_a_kernel_without_an_estimate(run_laws):
    """Laws of precisions are unsupported, and laws of means as well hold without them."""
    groups = ("attention", "correlated", "limits", "radial_tangential", "weights")
    laws = [f"--afa-law={group}/*" for group in groups]
    kernel = "--afa-implementation=kernels:right"
    status, output, report = run_laws(kernel, *laws, "--afa-examples=1")
    assert status == 0, output
    found = outcomes(report)
    assert found["attention/test_far_keys.py::test_far_key_floor"] == "unsupported"
    assert found["attention/test_equal_modes.py::test_equal_modes"] == "passed"


@pytest.mark.parametrize("kernel", ["lost", "lost_with_precision"])
def test_no_law_of_results_holds_where_all_are_nan(run_laws, kernel):
    groups = ("attention", "correlated", "limits", "weights")
    laws = [f"--afa-law={group}/*" for group in groups]
    example = "--afa-example=description=Description(masked=True)"
    status, _, report = run_laws(f"--afa-implementation=kernels:{kernel}", *laws, example)
    assert status == 1
    passed = {name for name, outcome in outcomes(report).items() if outcome == "passed"}
    assert passed == {"attention/test_no_visible_keys.py::test_no_rows_at_all[batch]"}


def test_numbers_that_are_not_finite_are_text(run_laws):
    options = ("--afa-implementation=kernels:lost", f"--afa-example={EXAMPLE}")
    _, _, report = run_laws(f"--afa-law={REGIMES}", *options)
    assert report["laws"][REGIMES]["cases"][""]["worst"]["error"] == "nan"


def test_worst_error_is_reproduced_by_its_example(run_laws):
    _, _, report = run_laws(f"--afa-law={POSITIONS}")
    drawn = report["laws"][POSITIONS]["cases"][""]
    assert drawn["outcome"] == "passed"
    assert drawn["examples"] == report["max_examples"] == 30
    assert drawn["worst"]["error"] <= drawn["worst"]["tolerance"]

    _, _, report = run_laws(f"--afa-law={POSITIONS}", f"--afa-example={drawn['worst']['example']}")
    again = report["laws"][POSITIONS]["cases"][""]
    assert again["worst"] == drawn["worst"]


def test_a_problem_of_a_batch_is_replayed_alone(run_laws):
    """Compiled, a law is put to twenty problems by one program."""
    pytest.importorskip("jax")
    options = ["--afa-backend=jax", "--afa-compile", "--afa-implementation=kernels:shifted"]
    options.append(f"--afa-law={VALUES}[1000.0]")
    status, _, report = run_laws(*options)
    assert status == 1
    assert report["under_test"]["mode"] == "compiled, mapped"
    broken = report["laws"][VALUES]["cases"]["[1000.0]"]
    assert broken["failed"].startswith("description=Description(")
    assert "\n" not in broken["failed"]

    status, _, report = run_laws(*options, f"--afa-example={broken['failed']}")
    again = report["laws"][VALUES]["cases"]["[1000.0]"]
    assert status == again["examples"] == 1
    assert again["failed"] == broken["failed"]


def test_one_example_of_a_law_with_examples_of_its_own(run_laws):
    law = "attention/test_dense_system.py::test_dense_coordinates"
    example = "description=Description(form='diagonal', decay='zero', seed=7)"
    status, _, report = run_laws(f"--afa-law={law}", f"--afa-example={example}")
    assert status == 0
    assert report["laws"][law]["cases"][""]["examples"] == report["counts"]["passed"] == 1


def test_one_example(run_laws):
    status, _, report = run_laws(f"--afa-law={POSITIONS}", f"--afa-example={EXAMPLE}")
    assert status == 0
    case = report["laws"][POSITIONS]["cases"][""]
    assert case["examples"] == 1
    assert case["worst"]["example"] == EXAMPLE


def test_a_backend_that_cannot_be_used(run_laws):
    reason = load("cupy").unavailable
    if not reason:
        pytest.skip("CuPy can be used here")
    status, output, report = run_laws("--afa-backend=cupy", f"--afa-law={VALUES}")
    assert status == 0
    assert not outcomes(report)
    assert report["unavailable"] == f"backend 'cupy' cannot be used here: {reason}"
    assert report["unavailable"] in output


def test_pytest_with_the_plugin_is_the_same(run_laws):
    options = ("--afa-backend=numpy", f"--afa-law={TIME}")
    status, _, report = run_laws(*options)
    start = ("-m", "pytest", "-p", "afa_conformance.plugin", "--pyargs", "afa_conformance")
    assert run_laws(*options, start=start)[::2] == (status, report)
    assert status == 0
    assert outcomes(report) == {f"{TIME}[0.001]": "passed", f"{TIME}[60.0]": "passed"}


def test_workers_report_to_the_controlling_process(run_laws):
    pytest.importorskip("xdist")
    options = ["--afa-implementation=kernels:shifted", f"--afa-example={EXAMPLE}", "-n", "2"]
    status, _, report = run_laws(*options, f"--afa-law={VALUES}", f"--afa-law={TIME}")
    assert status == 1
    assert outcomes(report) == {
        f"{TIME}[0.001]": "passed",
        f"{TIME}[60.0]": "passed",
        f"{VALUES}[0.001]": "failed",
        f"{VALUES}[1000.0]": "failed",
    }
    found = [case for law in report["laws"].values() for case in law["cases"].values()]
    assert {each["worst"]["example"] for each in found} == {EXAMPLE}
    assert {each.get("failed") for each in found} == {None, EXAMPLE}
