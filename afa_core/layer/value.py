"""A layer as a value: settings and parameters, called on arrays of one library."""

from __future__ import annotations

from typing import Any, NamedTuple

from afa_core._array.arrays import Array, namespace
from afa_core.decoding.cache import DecodeCache
from afa_core.layer.attend import Attended, attend
from afa_core.layer.decoding import empty_cache, step
from afa_core.layer.parameters import Parameters, sde_of
from afa_core.layer.settings import Settings
from afa_core.model.sde import SDE


class Layer(NamedTuple):
    """A layer for inference, on arrays of the library of its parameters.

    Parameters
    ----------
    settings : Settings
    parameters : mapping of str to array
        Named and shaped as `initial` describes.

    Examples
    --------
    >>> import numpy as np
    >>> from afa_core.layer import Settings, initial
    >>> rng = np.random.default_rng(0)
    >>> settings = Settings(features=6, heads=2, modes=3, value_modes=3)
    >>> parameters = {
    ...     name: np.reshape(np.asarray(each.values), each.shape) if each.values
    ...     else each.deviation * rng.standard_normal(each.shape)
    ...     for name, each in initial(settings).items()
    ... }
    >>> layer = Layer(settings, parameters)
    >>> layer(rng.standard_normal((4, 10, 6))).output.shape
    (4, 10, 6)
    """

    settings: Settings
    parameters: Parameters

    def __call__(self, query: Array, *others: Array | None, **options: Any) -> Attended:
        """Filter tokens; takes the arguments of `attend` that follow `settings`."""
        return attend(self.parameters, self.settings, query, *others, **options)

    def empty_cache(self, tokens: Array, **options: Any) -> DecodeCache:
        """Return an empty cache for tokens like those given.

        Takes the arguments of `afa_core.layer.empty_cache` that follow `settings`.
        """
        return empty_cache(self.parameters, self.settings, tokens, **options)

    def step(
        self, tokens: Array, cache: DecodeCache, **options: Any
    ) -> tuple[Attended, DecodeCache]:
        """Filter new tokens against a cache, and append them to it.

        Takes the arguments of `afa_core.layer.step` that follow `settings`.
        """
        return step(self.parameters, self.settings, tokens, cache, **options)

    @property
    def sde(self) -> SDE:
        """The dynamics and the noise, with leading axis (heads,)."""
        xp = namespace(frequency=self.parameters["frequency"])
        return sde_of(self.parameters, self.settings, xp=xp)
