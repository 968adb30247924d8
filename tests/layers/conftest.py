"""Layers of every kind with parameters that nothing starts at, and what they ought to say."""

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


def make(variant, dtype="float64", seed=0):
    """Return a layer of 6 features and 2 heads over NumPy arrays, modes turning both ways."""
    sizes = {"features": 6, "heads": 2, "modes": 2, "value_modes": 2}
    settings = Settings(**sizes | VARIANTS[variant])
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
    """The name of each kind of layer in turn."""
    return request.param


@pytest.fixture
def made():
    """Make a layer by the name of its kind."""
    return make


@pytest.fixture
def tokens():
    """Tokens, their irregular times, and which of them are real: (2, 5, 6), (2, 5), (2, 5)."""
    rng = np.random.default_rng(9)
    times = np.cumsum(rng.exponential(size=(2, 5)), axis=-1)
    return rng.standard_normal((2, 5, 6)), times, np.arange(5) < np.asarray([[5], [3]])


@pytest.fixture
def expected():
    """Return what a layer ought to give, by an oracle that has no code of the layer's."""
    problems = pytest.importorskip("afa_conformance.problems")
    direct = pytest.importorskip("afa_conformance.oracles.direct").direct

    def evaluate(layer, x, times, seen=None):
        s, p = layer

        def positive(name):
            raw = p[f"raw_{name}"]
            return np.abs(raw) if s.constraint == "absolute" else np.log(1.0 + np.exp(raw))

        def tokens_of(name):  # (batch, heads, n, modes), complex
            rows = x @ p[f"{name}_weight"].T + p.get(f"{name}_bias", 0.0)
            rows = np.stack(np.split(rows, s.heads, axis=-1), axis=-3)
            half = rows.shape[-1] // 2
            parts = (rows[..., :half], rows[..., half:])
            if s.layout == "interleaved":
                parts = rows[..., ::2], rows[..., 1::2]
            z = parts[0] + 1j * parts[1]
            if name not in s.normalised:
                return z
            power = np.mean(np.abs(z) ** 2, axis=-1, keepdims=True)
            return z / np.sqrt(power + 1e-6) * p[f"{name}_gain"][:, None, :]

        query, key, value = (tokens_of(name) for name in ("query", "key", "value"))
        omega = p["frequency"]
        turning = omega if s.value_rotation else np.zeros((s.heads, s.value_modes))
        if s.damping == "coupled":
            decay = positive("damping")[:, None] * np.abs(omega)
            decay = decay if s.form == "diagonal" else decay.max(-1)
        else:
            decay = positive("decay")
        if s.sphere:
            rest = positive("radius")[:, None] ** 2 - np.sum(np.abs(key) ** 2, axis=-1)
            query = np.concatenate([query, np.zeros_like(query[..., :1])], axis=-1)
            key = np.concatenate([key, np.sqrt(np.maximum(rest, 0.0))[..., None]], axis=-1)
            omega = np.concatenate([omega, np.zeros((s.heads, 1))], axis=-1)
        noise = afa.Noise(*map(positive, ("process", "measurement", "query_noise")))
        if s.form == "diagonal":
            sde = afa.DiagonalSDE(decay, omega, noise)
        elif s.form == "isotropic":
            sde = afa.IsotropicSDE(decay, omega, noise, turning)
        else:
            sides = (afa.Noise(*(each[k] for each in noise)) for k in (0, 1))
            sde = afa.RadialTangentialSDE(decay, omega, *sides, turning)
        dof = positive("dof") if "raw_dof" in p else None
        kinds = {"student_t": afa.StudentT, "rational": afa.Rational}
        problem = problems.DrawnProblem(
            query=query,
            key=key,
            value=value,
            sde=sde,
            weighting=afa.Gaussian() if dof is None else kinds[s.weighting](dof),
            inverse_temperature=positive("inverse_temperature"),
            query_times=times[:, None],
            key_times=times[:, None],
            mask=None if seen is None else seen[:, None, None],
            anchor=value if s.form == "radial_tangential" else None,
        )
        exact = direct(problem)
        mean, precision = exact.mean, exact.precision
        if s.gated:
            prior, moved = positive("prior_precision"), mean - value
            shares = [
                each / (each + prior.reshape(-1, *(1,) * (each.ndim - 2)))
                for each in (precision if isinstance(precision, tuple) else (precision,))
            ]
            if s.form == "radial_tangential":
                unit = value / np.linalg.norm(value, axis=-1, keepdims=True)
                along = unit * np.sum(unit.conj() * moved, axis=-1, keepdims=True)
                mean = value + shares[0][..., None] * along + shares[1][..., None] * (moved - along)
            else:
                mean = value + shares[0] * moved
        if s.horizon:
            rate = -decay[:, None] + 1j * turning
            mean = np.exp(rate * s.horizon)[:, None, :] * mean
        if s.output == "innovation":
            mean = mean - value
        parts = [mean.real, mean.imag]
        if s.layout == "interleaved":
            rows = np.stack(parts, axis=-1).reshape(*mean.shape[:-1], -1)
        else:
            rows = np.concatenate(parts, axis=-1)
        rows = np.concatenate(np.moveaxis(rows, 1, 0), axis=-1)
        return rows @ p["output_weight"].T + p.get("output_bias", 0.0)

    return evaluate
