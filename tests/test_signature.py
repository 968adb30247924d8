"""The public surface: one list of arguments, everything documented."""

import inspect
import re

import pytest

import afa_core as afa
from afa_core._checks.arguments import Arguments, Options

LEADING = ("query", "key", "value", "sde")
PUBLIC = [(name, getattr(module, name)) for module in (afa, afa.kalman) for name in module.__all__]


def test_attention_has_the_defaults_of_the_arguments():
    parameters = inspect.signature(afa.attention).parameters
    defaults = {
        name: p.default
        for name, p in parameters.items()
        if p.default is not inspect.Parameter.empty
    }
    assert defaults == {**Arguments._field_defaults, "implementation": "auto", "tile": None}


def test_attention_takes_the_arguments_in_their_order():
    parameters = inspect.signature(afa.attention).parameters
    assert [*parameters] == [*Arguments._fields, "implementation", "tile"]
    assert Arguments._fields[:4] == LEADING
    keyword_only = [n for n, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    assert keyword_only == [*parameters][4:]


def test_options_are_the_arguments_after_the_arrays():
    assert [*Options.__annotations__] == [*Arguments._fields][4:]
    assert not Options.__required_keys__
    written = {n: Arguments.__annotations__[n] for n in Options.__annotations__}
    assert {n: hint.__forward_arg__ for n, hint in Options.__annotations__.items()} == {
        n: hint.__forward_arg__ for n, hint in written.items()
    }


OF_ATTENTION = afa.estimate, afa.attention_weights, afa.visited_blocks, afa.explain


@pytest.mark.parametrize("function", OF_ATTENTION)
def test_functions_of_the_same_problem_take_the_same_arguments(function):
    parameters = inspect.signature(function).parameters
    assert tuple(parameters)[:4] == LEADING
    assert parameters["options"].kind is inspect.Parameter.VAR_KEYWORD


@pytest.mark.parametrize("function", OF_ATTENTION)
def test_arguments_that_a_function_does_not_take_are_named(function):
    text = inspect.getdoc(function).split("Takes the arguments of `attention`")[1]
    excepted = re.split(r",? and raises", text)[0]
    missing = {"implementation", "tile"} - {*inspect.signature(function).parameters}
    assert {*re.findall(r"`(\w+)`", excepted)} == missing


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_public_names_are_documented(name, value):
    assert value.__doc__ is not None
    # The docstring that Python gives to a NamedTuple is Name(field, …).
    assert not value.__doc__.startswith(f"{name}(")
    if inspect.isfunction(value):
        assert "spec §" in value.__doc__.lower()
    if inspect.isclass(value):
        methods = [m for n, m in vars(value).items() if inspect.isfunction(m) and n[0] != "_"]
        assert all(method.__doc__ for method in methods)


@pytest.mark.parametrize(
    "function",
    [value for _, value in PUBLIC if inspect.isfunction(value)],
    ids=lambda value: value.__name__,
)
def test_every_parameter_is_documented(function):
    """Except in functions that take the arguments of another one."""
    parameters = [n for n in inspect.signature(function).parameters if n != "options"]
    if "Takes the arguments of `" in " ".join(function.__doc__.split()):
        return
    if "Parameters\n" not in function.__doc__:
        assert "\n    Returns\n" not in function.__doc__
        return
    section = function.__doc__.split("Parameters\n", 1)[1].split("\n    Returns\n", 1)[0]
    documented = {
        name.strip()
        for line in section.splitlines()
        if line.startswith("    ") and line[4:5].isalpha()
        for name in line.split(" : ")[0].split(",")
    }
    assert documented == set(parameters)
