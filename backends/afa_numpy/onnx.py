"""Layers as ONNX models: the array-API core, traced by ndonnx on the parameters of a NumPy layer.

Requires ndonnx and onnxscript.
"""

from __future__ import annotations

import warnings
from typing import Any

import ndonnx as ndx
import numpy as np
from onnxscript import optimizer

from afa_core._array.arrays import namespace
from afa_core._checks.values import require_positive
from afa_core.layer import Layer, in_time_unit
from afa_core.layer.parameters import positive

__all__ = ["export", "padded"]

MAX_CONSTANT = 2**16
"""Entries of the largest array that is computed at export and stored in the model."""


def export(
    layer: Layer,
    tokens: int,
    *,
    batch: int = 1,
    causal: bool = True,
    step: float | None = None,
    tile: int = 256,
) -> Any:
    """Return the ONNX model of a layer for sequences of at most so many tokens.

    Its inputs are `tokens` (batch, n, features), `key_mask` (batch, n), True for tokens and False
    for padding, and `times` (batch, n) in double precision, all of fixed sizes; its output is
    `output` (batch, n, features).

    Parameters
    ----------
    layer : Layer
        On NumPy arrays.
    tokens : int
        The length n. Pad shorter sequences (`padded`), and truncate outputs.
    batch : int
    causal : bool
        As in `attend`.
    step : float or None
        The time from each token to the next, if it is always the same. The model then takes no
        `times`, and all that depends on lags and parameters alone is constant. ONNX Runtime forms
        the constants of pairs, some arrays (heads, n, n), when it loads the model.
    tile : int
        Number of queries in a block. Smaller blocks need less memory, and skip up to half of the
        pairs of causal attention, but make a larger graph.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ValueError
        If `step` is not finite and positive.

    Notes
    -----
    ONNX Runtime has sines and cosines in single precision only, so that errors of angles grow as
    ωt · 6·10⁻⁸. Times are taken from that of the first token, and then in the precision of the
    computation.
    """
    if step is not None:
        require_positive(step=step)
        layer = in_time_unit(layer, step)
    layer = _evaluated(layer)
    constants = {name: ndx.asarray(np.asarray(x)) for name, x in layer.parameters.items()}
    dtype = constants["query_weight"].dtype
    inputs: dict[str, Any] = {
        "tokens": ndx.argument(shape=(batch, tokens, layer.settings.features), dtype=dtype),
        "key_mask": ndx.argument(shape=(batch, tokens), dtype=ndx.bool),
    }
    times: Any = None
    if step is None:
        inputs["times"] = ndx.argument(shape=(batch, tokens), dtype=ndx.float64)
        times = inputs["times"] - inputs["times"][:, :1]
        times = times if dtype == ndx.float64 else times.astype(ndx.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"'(sin|cos)' is not implemented for 'float64'")
        attended = layer._replace(parameters=constants)(
            inputs["tokens"],
            query_times=times,
            key_mask=inputs["key_mask"],
            causal=causal,
            implementation="streaming",
            tile=tile,
        )
    output: Any = attended.output
    return simplified(ndx.build(inputs, {"output": output}))


def _evaluated(layer: Layer) -> Layer:
    """Return a layer whose positive parameters are stored as they are.

    ndonnx's softplus, log(1 + eˣ), rounds numbers below 10⁻⁷ to zero.
    """
    settings, parameters = layer
    values = {
        name: positive(x, settings, xp=namespace(x=x)) if name.startswith("raw_") else x
        for name, x in parameters.items()
    }
    return Layer(settings._replace(constraint="absolute"), values)


def simplified(model: Any) -> Any:
    """Return a model whose small constants are computed, and whose branches are chosen."""
    return optimizer.optimize(model, input_size_limit=MAX_CONSTANT, output_size_limit=MAX_CONSTANT)


def padded(x: Any, times: Any, tokens: int) -> dict[str, Any]:
    """Return the inputs of a model for so many tokens, from shorter sequences.

    Parameters
    ----------
    x : array, shape (batch, m, features)
    times : array, shape (batch, m), or None
        None for a model that takes none.
    tokens : int
        The length n of the model.

    Returns
    -------
    dict of str to array
        ``tokens``, ``key_mask``, and ``times`` if they are given.

    Raises
    ------
    ValueError
        If there are more tokens than the model takes.
    """
    missing = tokens - x.shape[1]
    if missing < 0:
        msg = f"`x` must have at most {tokens} tokens, got {x.shape[1]}. Export a longer model."
        raise ValueError(msg)
    inputs = {
        "tokens": np.pad(x, [(0, 0), (0, missing), (0, 0)]),
        "key_mask": np.pad(np.ones(x.shape[:2], bool), [(0, 0), (0, missing)]),
    }
    if times is not None:
        times = np.asarray(times, dtype=np.float64)
        inputs["times"] = np.pad(times, [(0, 0), (0, missing)], mode="edge")
    return inputs
