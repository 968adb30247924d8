"""The errors of the checks that several functions share, each worded once.

`{here}` and `{there}` stand for the names of the library under test and of the other one, or of
two devices.
"""


def not_an_array(name: str, got: str, remedy: str = "Convert it first.") -> TypeError:
    return TypeError(
        f"`{name}` must be an array of a library that follows the array API standard "
        f"(NumPy, PyTorch, JAX, CuPy, …), got {got}. {remedy}"
    )


def not_a_number(name: str, got: str) -> TypeError:
    return TypeError(
        f"`{name}` must be a Python number or an array of a real floating dtype, got {got}. "
        "Convert it first."
    )


def not_real(name: str, dtype: str) -> TypeError:
    return TypeError(f"`{name}` must have a real floating dtype, got {dtype}. Cast it first.")


def not_floating(name: str, dtype: str) -> TypeError:
    return TypeError(
        f"`{name}` must have a real or complex floating dtype, got {dtype}. Cast it first."
    )


def not_times(name: str, dtype: str) -> TypeError:
    return TypeError(
        f"`{name}` must have a real floating or signed integer dtype, got {dtype}. Cast it first."
    )


def not_boolean(dtype: str, true: str = "True attends", name: str = "mask") -> TypeError:
    return TypeError(
        f"`{name}` must be boolean ({true}), got {dtype}. Compare it with something first."
    )


def of_type(name: str, types: str, got: str) -> TypeError:
    return TypeError(f"`{name}` must be of type {types}, got {got}. Construct one.")


def not_an_sde(got: str) -> TypeError:
    return of_type("sde", "IsotropicSDE or DiagonalSDE or RadialTangentialSDE", got)


def not_a_weighting(got: str) -> TypeError:
    return of_type("weighting", "StudentT or Gaussian or Rational or Uniform", got)


def not_a_noise(name: str, got: str) -> TypeError:
    return of_type(name, "Noise", got)


def two_libraries(name: str, first: str) -> TypeError:
    return TypeError(
        f"`{name}` must come from the same array library as `{first}` ({{here}}), got {{there}}. "
        "Convert one of the two."
    )


def two_kinds(name: str, kind: str, dtype: str) -> TypeError:
    return TypeError(
        f"`{name}` must be {kind}, got {dtype}. "
        "Pass complex arrays for all of them, or real pairs for all of them."
    )


def two_devices(name: str, first: str) -> ValueError:
    return ValueError(
        f"`{name}` must be on the same device as `{first}` ({{here}}), got {{there}}. "
        "Move one of the two."
    )


def wrong_shape(name: str, expected: str, like: str, shape: tuple[int, ...]) -> ValueError:
    return ValueError(f"`{name}` must have shape {expected} to match {like}, got {shape}.")


def too_few_axes(name: str, expected: str, shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"`{name}` must have shape {expected}, got {shape}. "
        "Add the missing axes, and at least one channel."
    )


def not_tokens(name: str, shape: tuple[int, ...]) -> ValueError:
    return too_few_axes(name, "(..., tokens, channels ≥ 1)", shape)


def odd_channels(name: str, shape: tuple[int, ...]) -> ValueError:
    return ValueError(
        f"`{name}` must have an even last axis, (re, im) pairs of complex modes, got shape "
        f"{shape}. Pass a complex array, or add the imaginary parts."
    )


def not_together(what: str, shapes: str) -> ValueError:
    return ValueError(
        f"{what} must broadcast against each other, got {shapes}. "
        "Insert axes of length 1 or expand one of them."
    )


def leading_axes(shapes: str) -> ValueError:
    return not_together("leading axes (batch, heads)", shapes)


def missing(name: str, rest: str) -> ValueError:
    return ValueError(f"`{name}` must be given, got None{rest}")


def superfluous_anchor(sde: str) -> ValueError:
    return ValueError(f"`anchor` belongs to RadialTangentialSDE only, got {sde}. Leave it out.")


def unknown_option(options: str, got: str) -> TypeError:
    return TypeError(f"options must be among {options}, got `{got}`. Correct the name.")


def unlike(name: str, expected: str, got: str, advice: str = "") -> ValueError:
    return ValueError(f"`{name}` must be {expected}, got {got}.{advice}")


def not_a_layout(got: str) -> ValueError:
    return unlike("layout", "one of 'interleaved', 'halves'", got)


def not_a_tile(got: str) -> ValueError:
    return unlike("tile", "a positive number of tokens or None", got, " Leave it out.")
