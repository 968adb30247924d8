"""Ring attention of the devices of a mapped function (spec §9)."""

from __future__ import annotations

from functools import partial
from typing import Any, Unpack

from jax import lax

from afa_core._checks.arguments import check_options, collect_arguments
from afa_core._checks.evaluation import checked_tile
from afa_core.distributed.ring import KVShard, Ring
from afa_core.distributed.shards import RingOptions, estimate_shard
from afa_core.model.estimates import Estimate
from afa_core.model.sde import SDE
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.operands import Operands, StaticProblem
from afa_jax.division import varying_axes
from afa_jax.engine import ENGINE
from afa_jax.ring.autodiff import RingProgram, run_program
from afa_jax.streaming import Program

LAX: Any = lax


def ring_attention(
    query: Any, key: Any, value: Any, sde: SDE, *, axis_name: str, **options: Unpack[RingOptions]
) -> Any:
    """Return the attention of this device's queries over the keys of a whole ring of devices.

    The operation of `afa_core.attention`, on a sequence that is divided among devices. Call it
    within ``jax.shard_map(…, check_vma=False)``. Each device holds its own tokens, and one shard
    of keys and values that `lax.ppermute` moves around the ring.

    Parameters
    ----------
    query, key, value : array, shapes (..., n, c), (..., m, c), (..., m, c_v)
        The tokens of this device: if `causal` the chunks i and 2P − 1 − i of 2P, for device i of
        P, which gives all devices the same work; otherwise chunk i of P.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        The same on every device.
    axis_name : str
        The axis of the mesh along which tokens are divided.
    **options
        `weighting`, `inverse_temperature`, `query_times`, `key_times`, `causal`, `anchor`,
        `layout`, `correlated`, `query_variance` and `tile` of `afa_core.attention`, for the
        tokens of this device; by default times are the positions in the whole sequence. `key_mask`,
        a boolean array of shape (..., m), hides keys of this device where False; results do not
        depend on their contents. With `correlated` every device gathers the times and key masks of
        all and runs the filter over the whole sequence, which takes O(N) memory a head for N
        tokens, and O(N d) in the diagonal form.

    Returns
    -------
    array, shape (..., n, c_v)
        Of the kind, layout and dtype of `value`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes or options do not fit each other, or the mapped function checks varying axes.

    References
    ----------
    Spec §9; §14 for correlated keys.
    """
    return _estimate(query, key, value, sde, axis_name, options, return_precision=False)[0]


def ring_estimate(
    query: Any, key: Any, value: Any, sde: SDE, *, axis_name: str, **options: Unpack[RingOptions]
) -> Estimate:
    """Return the estimate of `ring_attention` together with its precision.

    Takes the arguments of `ring_attention`, and raises its errors.

    Returns
    -------
    Estimate
        `mean`, which is what `ring_attention` returns, and `precision`, of this device's queries.

    References
    ----------
    Spec §9, §10.
    """
    return Estimate(*_estimate(query, key, value, sde, axis_name, options, return_precision=True))


def _estimate(
    query: Any,
    key: Any,
    value: Any,
    sde: SDE,
    axis_name: str,
    options: RingOptions,
    *,
    return_precision: bool,
) -> tuple[Any, Any]:
    check_options(options, RingOptions)
    rest: dict[str, Any] = dict(options)
    key_mask, tile = rest.pop("key_mask", None), checked_tile(rest.pop("tile", None))
    index = lax.axis_index(axis_name)
    if varying_axes(index):
        msg = (
            "`ring_attention` must be called where varying axes are not checked, for its loops "
            "start from the same numbers on every device. Pass check_vma=False to jax.shard_map."
        )
        raise ValueError(msg)

    def maximum(x: Any) -> Any:
        return LAX.pmax(lax.stop_gradient(x), axis_name)

    def gather(arrays: Any) -> list[Any]:
        return [LAX.all_gather(x, axis_name, axis=x.ndim - 1, tiled=True) for x in arrays]

    return estimate_shard(
        collect_arguments(query, key, value, sde, rest),
        key_mask,
        Ring(index, lax.axis_size(axis_name), maximum, gather),
        ENGINE,
        partial(_run_ring, axis_name),
        tile,
        return_precision=return_precision,
    )


def _run_ring(
    axis_name: str,
    shard: KVShard,
    key_mask: Any,
    operands: Operands,
    static: StaticProblem,
    sizes: Sizes,
    /,
    *,
    return_precision: bool,
    xp: Any,
) -> tuple[Any, Any]:
    program = Program.of(static, sizes, return_precision=return_precision)
    return run_program(RingProgram(axis_name, program), operands, shard, key_mask)
