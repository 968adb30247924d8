"""The recursions of the filter and the smoother as associative scans: log n steps for n tokens.

What a token does to a variance is a fractional map, what it does to a mean an affine one, and
maps compose associatively. Their coefficients are not negative, so nothing cancels, and those of
the affine ones at most 1, so nothing grows.
"""

from __future__ import annotations

from afa_core._array.arrays import Array, Namespace, device_of, insert_axes
from afa_core._array.scan import Combine, Elements, affine, prefixes, suffixes
from afa_core.kalman.problem import Series, State
from afa_core.kalman.step import Measurement, Path, gain, kept, log_density, update
from afa_core.model.covariance import decay_factor, propagated_covariance

TOKENS = -2
"""The axis of tokens in every array here."""


def forward(s: Series, *, xp: Namespace) -> Path:
    """Return the beliefs along a series: the variances by one scan, the means by another.

    From the scanned belief before a token the belief after it is the step of the recursion,
    taken for all tokens at once.
    """
    transition, process = s.transitions(xp=xp)
    z = Measurement(s.measured, s.observed, s.noise(xp=xp)[..., None, :])
    start = State(*(x[..., None, :] for x in s.start))
    (measured,) = prefixes(_either(xp), (s.observed,), axis=TOKENS, xp=xp)
    known = _before(start.known, xp.logical_or(start.known, measured), xp=xp)

    maps = fractional_maps(z, known, transition, process, xp=xp)
    slope, constant, resistance = prefixes(compose, maps, axis=TOKENS, xp=xp)
    variance = (slope * start.variance + constant) / (resistance * start.variance + 1.0)
    variance = transition**2 * _before(start.variance, variance, xp=xp) + process

    slope = transition * kept(variance, known, z, xp=xp)
    constant = gain(variance, known, z, xp=xp) * z.value
    slope, constant = prefixes(affine, (slope, constant), axis=TOKENS, xp=xp)
    mean = transition * _before(start.mean, slope * start.mean + constant, xp=xp)

    predicted = State(mean, variance, known)
    likelihood = xp.sum(log_density(predicted, z, xp=xp), axis=TOKENS)
    return Path(predicted, update(predicted, z, xp=xp), likelihood, None)


def backward(path: Path, s: Series, *, xp: Namespace) -> State:
    """Return the beliefs given the future too, x + Pδ and uP, from those of the filter.

    With e = z − x⁻ and S = P⁻ + η², and what belongs to the next token marked by +,

        δ = E(e₊/S₊ + (1 − K₊)δ₊),  u = V/P⁻₊ + (E²P/P⁻₊)(1 − K₊)u₊,

    which shrink what they carry back; the recursion of the means themselves may let it grow.
    """
    own, following = path.filtered, State(*(x[..., 1:, :] for x in path.predicted))
    transition, process = (x[..., 1:, :] for x in s.transitions(xp=xp))
    z = Measurement(s.measured[..., 1:, :], s.observed[..., 1:, :], s.noise(xp=xp)[..., None, :])
    rest = kept(following.variance, following.known, z, xp=xp)

    total = following.variance + z.variance
    counts = xp.logical_and(z.observed, total > 0.0)
    surprise = (z.value - following.mean) / xp.where(counts, total, 1.0)
    surprise = transition * xp.where(counts, surprise, 0.0)
    score = _until_the_end(transition * rest, surprise, 0.0, xp=xp)

    informed = following.variance > 0.0
    total = xp.where(informed, following.variance, 1.0)
    carried = xp.where(informed, transition**2 * own.variance[..., :-1, :] / total, 0.0)
    renewed = xp.where(informed, process / total, 1.0)
    share = _until_the_end(carried * rest, renewed, 1.0, xp=xp)

    smoothed = State(own.mean + own.variance * score, share * own.variance, own.known)
    return _carried_back(smoothed, path.predicted.known, s, xp=xp)


def _until_the_end(slope: Array, constant: Array, last: float, *, xp: Namespace) -> Array:
    """Return y with y_i = s_i y_{i+1} + c_i and the given last one, which has no map."""

    def longer(x: Array, end: float) -> Array:
        shape = (*x.shape[:-2], 1, x.shape[-1])
        filled = xp.full(shape, end, dtype=x.dtype, device=device_of(x))
        return xp.concat([x, filled], axis=TOKENS)

    maps = longer(slope, 0.0), longer(constant, last)
    return suffixes(affine, maps, axis=TOKENS, xp=xp)[1]


def fractional_maps(
    z: Measurement, known: Array, transition: Array, process: Array, *, xp: Namespace
) -> Elements:
    """Return a, b, c of the step P ↦ (aP + b)/(cP + 1) of each token.

    P⁻ = E²P + V is followed by P⁻η²/(P⁻ + η²), by nothing where there is no measurement, and by
    η² where the measurement starts the mode.
    """
    total = process + z.variance
    safe = xp.where(total > 0.0, total, 1.0)
    share = xp.where(z.observed, z.variance / safe, 1.0)
    slope, constant = share * transition**2, share * process
    resistance = xp.where(xp.logical_and(z.observed, total > 0.0), transition**2 / safe, 0.0)
    starts = xp.logical_and(z.observed, xp.logical_not(known))
    return (
        xp.where(starts, 0.0, slope),
        xp.where(starts, z.variance, constant),
        xp.where(starts, 0.0, resistance),
    )


def compose(one: Elements, two: Elements) -> Elements:
    """Return the second after the first of two maps P ↦ (aP + b)/(cP + 1)."""
    (a, b, c), (later_a, later_b, later_c) = one, two
    scale = later_c * b + 1.0
    return (
        (later_a * a + later_b * c) / scale,
        (later_a * b + later_b) / scale,
        (later_c * a + c) / scale,
    )


def _carried_back(smoothed: State, known: Array, s: Series, *, xp: Namespace) -> State:
    """Fill in the tokens before a diffuse mode is first measured, from the token where it is.

    `known` says the same as `smoothed.known` before the measurement of each token.
    """
    elapsed = s.clock.elapsed[..., None]  # (..., n, 1)
    first = xp.where(smoothed.known, elapsed, elapsed[..., -1:, :])
    ahead = xp.min(first, axis=TOKENS, keepdims=True) - elapsed
    ahead = xp.astype(xp.where(smoothed.known, 0.0, ahead), smoothed.variance.dtype, copy=False)
    decay, process = insert_axes(s.sde.decay, 1), insert_axes(s.sde.noise.process, 1)
    transition = decay_factor(ahead, decay, xp=xp)
    spread = propagated_covariance(ahead, decay, process, xp=xp)

    starts = xp.logical_and(smoothed.known, xp.logical_not(known))
    mean, variance = (
        xp.sum(xp.where(starts, x, 0.0), axis=TOKENS, keepdims=True)
        for x in (smoothed.mean, smoothed.variance)
    )
    lost = xp.logical_not(transition > 0.0)
    transition = xp.where(lost, 1.0, transition)
    mean = xp.where(lost, 0.0, mean / transition)
    variance = xp.where(lost, xp.inf, (variance + spread) / transition / transition)
    return State(
        xp.where(smoothed.known, smoothed.mean, mean),
        xp.where(smoothed.known, smoothed.variance, variance),
        smoothed.known,
    )


def _either(xp: Namespace) -> Combine:
    return lambda one, two: (xp.logical_or(one[0], two[0]),)


def _before(start: Array, states: Array, *, xp: Namespace) -> Array:
    """Return the state before each token: the start, then those after the tokens before."""
    return xp.concat([start, states[..., :-1, :]], axis=TOKENS)
