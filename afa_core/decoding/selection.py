"""Selection of sequences of a cache, as in beam search."""

from __future__ import annotations

from functools import partial

from afa_core._array.arrays import Array, check_array, check_devices, dtype_name, namespace
from afa_core.decoding.cache import DecodeCache
from afa_core.decoding.leading_axes import FIELDS, arrays_of, mapped
from afa_core.model.sde import check_instance

PER_TOKEN = "key", "value", "key2"
"""The fields that a batch of one sequence has to have for each sequence that it becomes."""


def select(cache: DecodeCache, indices: Array) -> DecodeCache:
    """Return the cache of some sequences of a batch, along the first axis of its tokens.

    Parameters
    ----------
    cache : DecodeCache
        Not changed.
    indices : array, shape (k,)
        Which sequences, integers from 0 to batch − 1, in any order; some may be there more than
        once, others not at all.

    Returns
    -------
    DecodeCache
        Of k sequences. What all sequences share, such as times that were left out, it still has
        once. The next step copies it.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If the shape or the device of the indices does not fit, or the cache has no batch axis.

    References
    ----------
    Spec §9.

    Examples
    --------
    Three beams from one prompt, of which the best two go on:

    >>> import numpy as np
    >>> from afa_core import DecodeCache, IsotropicSDE, Noise
    >>> sde = IsotropicSDE(0.1, np.asarray([0.5]), Noise(0.2, 1.0, 1.0))
    >>> prompt = np.ones((1, 4, 2))
    >>> beams = select(DecodeCache.of(prompt, prompt, sde), np.asarray([0, 0, 0]))
    >>> select(beams, np.asarray([2, 0])).key.shape[0]
    2
    """
    check_instance("cache", cache, DecodeCache)
    check_array("indices", indices)
    arrays = {"cache.key": cache.key, "indices": indices}
    xp = namespace(**arrays)
    check_devices(xp, **arrays)
    if not xp.isdtype(indices.dtype, "integral"):
        msg = f"`indices` must be integers, got {dtype_name(indices.dtype)}. Cast them first."
        raise TypeError(msg)
    if indices.ndim != 1:
        msg = f"`indices` must have shape (k,), got {tuple(indices.shape)}. Flatten them."
        raise ValueError(msg)
    fields = {name: getattr(cache, name) for name in FIELDS}
    if cache.key.ndim < 3:
        msg = (
            f"`cache` must have a batch axis, got tokens of shape {tuple(cache.key.shape)}. Insert "
            "an axis of length 1 in front of the tokens that it is made of."
        )
        raise ValueError(msg)
    batch = max(x.shape[0] for x in arrays_of(fields.values()))

    def taken(name: str, x: Array) -> Array:
        own = name in PER_TOKEN if batch == 1 else x.shape[0] != 1
        return xp.take(x, indices, axis=0) if own else x

    return cache._replace(
        **{name: mapped(field, partial(taken, name)) for name, field in fields.items()}
    )
