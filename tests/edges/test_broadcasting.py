"""Leading axes and masks of fewer axes broadcast."""

import numpy as np

import afa_core as afa

from .problems import forms, leaves, models, normal


@forms
def test_masks_of_fewer_axes_broadcast(form, library, call, host):
    sde, x = models(library)[form], normal(library, 2, 3, 4)
    numpy = host("numpy")
    exact, y = models(numpy)[form], normal(numpy, 2, 3, 4)
    keys = np.asarray([True, False, True])
    queries = np.asarray([[True], [False], [True]])
    for small in (keys, queries, np.asarray(True), np.broadcast_to(keys, (2, 1, 3))):
        full = np.broadcast_to(small, (2, 3, 3))
        result = call(afa.attention, x, x, x, sde, mask=library.from_numpy(small))
        whole = afa.attention(y, y, y, exact, mask=full)
        np.testing.assert_allclose(library.to_numpy(result), whole, rtol=1e-12, atol=1e-14)


@forms
def test_leading_axes_broadcast(form, library, call, host):
    """Grouped queries: the keys' axis of length 1, or its absence, serves every head."""
    sde, numpy = models(library)[form], host("numpy")
    query, key = normal(numpy, 2, 3, 5, 4), normal(numpy, 2, 1, 5, 4, seed=1)
    for few in (key, key[0, 0]):
        many = np.broadcast_to(few, query.shape)
        moved = [library.from_numpy(x) for x in (query, few, few)]
        grouped = library.to_numpy(call(afa.attention, *moved, sde))
        full = afa.attention(query, many, many, models(numpy)[form])
        np.testing.assert_allclose(grouped, full, rtol=1e-12, atol=1e-14)


def test_parameters_may_have_batches_and_heads(library, call):
    """Every parameter with its own leading axes equals the heads computed one by one."""
    rng = np.random.default_rng(0)
    x, frequency = rng.standard_normal((2, 3, 5, 4)), rng.uniform(-1.0, 1.0, (3, 2))
    decay, process, dof = rng.uniform(0.1, 1.0, (3, 2, 3))
    beta, measurement = rng.uniform(0.5, 2.0, (2, 3))

    def arguments(x, decay, frequency, process, measurement, dof, beta):
        sde = afa.IsotropicSDE(decay, frequency, afa.Noise(process, measurement, 0.5))
        options = {"weighting": afa.StudentT(dof), "inverse_temperature": beta}
        return {"query": x, "key": x, "value": x, "sde": sde, **options}

    given = [x, decay, frequency, process, measurement, dof, beta]
    moved = arguments(*(library.from_numpy(each) for each in given))
    whole = library.to_numpy(call(afa.attention, **moved))
    for b, h in np.ndindex(2, 3):
        one = arguments(
            x[b, h], decay[b, h], frequency[h], process[b, h], measurement[h], dof[b, h], beta[h]
        )
        np.testing.assert_allclose(whole[b, h], afa.attention(**one), rtol=1e-12)


@forms
def test_leading_axes_of_any_argument_appear_in_the_result(form, library, call):
    sde, x = models(library)[form], normal(library, 3, 4)
    times = library.from_numpy(np.zeros((5, 3)))
    mask = library.from_numpy(np.ones((5, 3, 3), bool))
    for options in (
        {"key_times": times},
        {"mask": mask},
        {"inverse_temperature": library.from_numpy(np.ones(5))},
        {"weighting": afa.Rational(library.from_numpy(np.ones(5)))},
    ):
        mean, precision = call(afa.estimate, x, x, x, sde, **options)
        assert tuple(mean.shape) == (5, 3, 4)
        assert all(tuple(each.shape)[:2] == (5, 3) for each in leaves(precision))
