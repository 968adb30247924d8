"""Arguments of attention over tiles, and what is differentiated."""

import numpy as np

import afa_core as afa

FORMS = ("isotropic", "radial_tangential", "diagonal")


def problem(array, form="isotropic", n=40, leading=(2, 3), modes=2, seed=0, dtype="float64"):
    """The arguments of attention with an array for each of them, and a mask."""
    rng = np.random.default_rng(seed)
    heads = leading[-1:]
    parameters = (*heads, modes) if form == "diagonal" else heads
    tokens = {
        name: array(rng.standard_normal((*leading, n, 2 * modes)).astype(dtype))
        for name in ("query", "key", "value")
    }

    def noise():
        return afa.Noise(*(array(rng.uniform(0.3, 1.0, parameters).astype(dtype)) for _ in "σηγ"))

    decay = array(rng.uniform(0.0, 0.3, parameters).astype(dtype))
    frequency = array(rng.standard_normal((*heads, modes)).astype(dtype))
    if form == "radial_tangential":
        sde = afa.RadialTangentialSDE(decay, frequency, noise(), noise())
    else:
        sde = (afa.DiagonalSDE if form == "diagonal" else afa.IsotropicSDE)(
            decay, frequency, noise()
        )
    mask = rng.uniform(size=(*leading[:1], 1, n, n)) < 0.8
    return tokens | {"sde": sde, "mask": array(mask)}


def parameters_of(sde):
    """All arrays of decay and noise."""
    return [sde.decay, *(x for each in sde if isinstance(each, afa.Noise) for x in each)]


def with_parameters(sde, parameters):
    """The model with other arrays of decay and noise."""
    noises = [name for name in sde._fields if isinstance(getattr(sde, name), afa.Noise)]
    starts = range(1, len(parameters), 3)
    parts = (afa.Noise(*parameters[start : start + 3]) for start in starts)
    return sde._replace(decay=parameters[0], **dict(zip(noises, parts, strict=True)))


def run(arguments, implementation="streaming", **options):
    chosen = {"tile": 3} if implementation == "streaming" else {}
    return afa.estimate(**arguments, **chosen, **options, implementation=implementation)


def outputs(result):
    several = isinstance(result.precision, tuple)
    return [result.mean, *(result.precision if several else [result.precision])]


def loss(result):
    mean, *precisions = outputs(result)
    return (mean**2).sum() + sum(each.sum() for each in precisions)


def gradients(torch, arguments, found, implementation="streaming", function=run):
    return torch.autograd.grad(loss(function(arguments, implementation)), found)
