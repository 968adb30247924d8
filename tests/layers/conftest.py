"""Layers of every kind with parameters off their initial values, and an oracle of their outputs."""

import numpy as np
import pytest

import afa_core as afa
from afa_core.layer import Layer, Settings, initial

VARIANTS = {
    "isotropic": {"normalised": ("key",), "bias": False},
    "diagonal": {"form": "diagonal", "damping": "coupled", "gated": True, "weighting": "rational"},
    "radial-tangential": {
        "form": "radial_tangential",
        "gated": True,
        "normalised": ("query", "value"),
        "layout": "halves",
        "horizon": 0.5,
    },
    "sphere": {
        "sphere": True,
        "weighting": "gaussian",
        "value_modes": 3,
        "value_rotation": False,
        "constraint": "absolute",
        "output": "innovation",
    },
}


def make(variant, dtype="float64", seed=0, **changes):
    """Return a layer of 6 features and 2 heads over NumPy arrays, frequencies of both signs."""
    sizes = {"features": 6, "heads": 2, "modes": 2, "value_modes": 2}
    settings = Settings(**sizes | VARIANTS[variant] | changes)
    rng = np.random.default_rng(seed)

    def array(each):
        values = np.asarray(each.values or np.zeros(each.shape)).reshape(each.shape)
        return (values + (each.deviation or 0.1) * rng.standard_normal(each.shape)).astype(dtype)

    parameters = {name: array(each) for name, each in initial(settings).items()}
    parameters["frequency"][:, 1] *= -1
    if settings.sphere:
        parameters["raw_radius"] += 2
    return Layer(settings, parameters)


@pytest.fixture(params=VARIANTS)
def variant(request):
    """The name of each variant of a layer in turn."""
    return request.param


@pytest.fixture
def make_layer():
    """Make a NumPy layer by the name of its variant."""
    return make


@pytest.fixture
def module_of(make_layer, module):
    """Make a JAX module, of the class `module` of a test, with the parameters of a NumPy layer."""
    import jax

    def convert(variant, **options):
        settings, parameters = make_layer(variant, **options)
        arrays = {name: jax.numpy.asarray(x) for name, x in parameters.items()}
        return module.from_layer(Layer(settings, arrays))

    return convert


@pytest.fixture
def tokens():
    """Tokens (2, 5, 6), their irregular times (2, 5), and their key padding mask (2, 5)."""
    rng = np.random.default_rng(9)
    times = np.cumsum(rng.exponential(size=(2, 5)), axis=-1)
    return rng.standard_normal((2, 5, 6)), times, np.arange(5) < np.asarray([[5], [3]])


@pytest.fixture
def tokens_with_nan(tokens):
    """Tokens and times with NaN in place of padding, and the key padding mask."""
    x, times, key_mask = tokens
    return np.where(key_mask[..., None], x, np.nan), np.where(key_mask, times, np.nan), key_mask


@pytest.fixture
def expected_output():
    """Return the output of a layer by an oracle that shares no code with the layer."""
    problems = pytest.importorskip("afa_conformance.problems")
    direct = pytest.importorskip("afa_conformance.oracles.direct").direct
    double_sum = pytest.importorskip("afa_conformance.oracles.double_sum").double_sum

    def evaluate(layer, x, times, key_mask=None):
        settings, parameters = layer
        query, key, value = (head_modes(layer, name, x) for name in ("query", "key", "value"))
        if settings.sphere:
            query, key = on_sphere(layer, query, key)
        dof = positive(layer, "dof") if "raw_dof" in parameters else None
        kinds = {"student_t": afa.StudentT, "rational": afa.Rational}
        problem = problems.DrawnProblem(
            query=query,
            key=key,
            value=value,
            sde=model(layer),
            weighting=afa.Gaussian() if dof is None else kinds[settings.weighting](dof),
            inverse_temperature=positive(layer, "inverse_temperature"),
            query_times=times[:, None],
            key_times=times[:, None],
            mask=None if key_mask is None else key_mask[:, None, None],
            anchor=value if settings.form == "radial_tangential" else None,
            correlated=settings.correlated,
        )
        exact = double_sum(problem) if settings.correlated else direct(problem)
        return output(layer, exact.mean, exact.precision, value)

    return evaluate


def positive(layer, name):
    raw = layer.parameters[f"raw_{name}"]
    if layer.settings.constraint == "absolute":
        return np.abs(raw)
    return np.log(1.0 + np.exp(raw))


def head_modes(layer, name, x):
    """Project tokens to complex modes, (batch, heads, n, modes)."""
    settings, parameters = layer
    rows = x @ parameters[f"{name}_weight"].T + parameters.get(f"{name}_bias", 0.0)
    rows = np.stack(np.split(rows, settings.heads, axis=-1), axis=-3)
    if settings.layout == "interleaved":
        z = rows[..., ::2] + 1j * rows[..., 1::2]
    else:
        half = rows.shape[-1] // 2
        z = rows[..., :half] + 1j * rows[..., half:]
    if name not in settings.normalised:
        return z
    power = np.mean(np.abs(z) ** 2, axis=-1, keepdims=True)
    return z / np.sqrt(power + 1e-6) * parameters[f"{name}_gain"][:, None, :]


def on_sphere(layer, query, key):
    """Extend keys to the length of the radius by a mode that is zero in queries."""
    rest = positive(layer, "radius")[:, None] ** 2 - np.sum(np.abs(key) ** 2, axis=-1)
    query = np.concatenate([query, np.zeros_like(query[..., :1])], axis=-1)
    return query, np.concatenate([key, np.sqrt(np.maximum(rest, 0.0))[..., None]], axis=-1)


def decays(layer):
    settings, parameters = layer
    if settings.damping == "free":
        return positive(layer, "decay")
    decay = positive(layer, "damping")[:, None] * np.abs(parameters["frequency"])
    return decay if settings.form == "diagonal" else decay.max(-1)


def value_frequencies(layer):
    settings, parameters = layer
    if settings.value_rotation:
        return parameters["frequency"]
    return np.zeros((settings.heads, settings.value_modes))


def model(layer):
    settings, parameters = layer
    decay, omega = decays(layer), parameters["frequency"]
    if settings.sphere:
        omega = np.concatenate([omega, np.zeros((settings.heads, 1))], axis=-1)
    noises = [positive(layer, name) for name in ("process", "measurement", "query_noise")]
    if settings.form == "diagonal":
        return afa.DiagonalSDE(decay, omega, afa.Noise(*noises))
    if settings.form == "isotropic":
        return afa.IsotropicSDE(decay, omega, afa.Noise(*noises), value_frequencies(layer))
    radial, tangential = (afa.Noise(*(each[k] for each in noises)) for k in (0, 1))
    return afa.RadialTangentialSDE(decay, omega, radial, tangential, value_frequencies(layer))


def output(layer, mean, precision, value):
    """Gate, predict and project estimates (batch, heads, n, modes)."""
    settings, parameters = layer
    if settings.gated:
        mean = value + gated_innovation(layer, mean - value, precision, value)
    if settings.horizon:
        rate = -decays(layer)[:, None] + 1j * value_frequencies(layer)
        mean = np.exp(rate * settings.horizon)[:, None, :] * mean
    if settings.output == "innovation":
        mean = mean - value
    parts = [mean.real, mean.imag]
    if settings.layout == "interleaved":
        rows = np.stack(parts, axis=-1).reshape(*mean.shape[:-1], -1)
    else:
        rows = np.concatenate(parts, axis=-1)
    rows = np.concatenate(np.moveaxis(rows, 1, 0), axis=-1)
    return rows @ parameters["output_weight"].T + parameters.get("output_bias", 0.0)


def gated_innovation(layer, innovation, precision, value):
    prior = positive(layer, "prior_precision")
    shares = [
        each / (each + prior.reshape(-1, *(1,) * (each.ndim - 2)))
        for each in (precision if isinstance(precision, tuple) else (precision,))
    ]
    if layer.settings.form != "radial_tangential":
        return shares[0] * innovation
    unit = value / np.linalg.norm(value, axis=-1, keepdims=True)
    radial = unit * np.sum(unit.conj() * innovation, axis=-1, keepdims=True)
    return shares[0][..., None] * radial + shares[1][..., None] * (innovation - radial)
