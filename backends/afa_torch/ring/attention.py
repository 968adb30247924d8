"""Ring attention of the ranks of a process group (spec §9)."""

from __future__ import annotations

from typing import Any, Unpack

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from afa_core._checks.arguments import check_options, collect_arguments
from afa_core._checks.evaluation import checked_tile
from afa_core.distributed.ring import KVShard, Ring
from afa_core.distributed.shards import RingOptions, estimate_shard
from afa_core.model.estimates import Estimate
from afa_core.model.sde import SDE
from afa_core.streaming.blocks import Sizes
from afa_core.streaming.operands import Operands, StaticProblem
from afa_torch.ring.autograd import RingAttention, RingContext, pack_shard
from afa_torch.ring.collectives import RankRing, group_of
from afa_torch.ring.rank_checks import check_same_on_all_ranks
from afa_torch.streaming import ENGINE


def ring_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sde: SDE,
    *,
    group: dist.ProcessGroup | None = None,
    mesh: DeviceMesh | None = None,
    **options: Unpack[RingOptions],
) -> Tensor:
    """Return the attention of this rank's queries over the keys of all ranks of a group.

    The operation of `afa_core.attention`, on a sequence that is divided among ranks. All ranks
    call it, and its backward pass, at the same time. Each holds its own tokens, and one shard of
    keys and values that it receives from the previous rank and sends to the next.

    Each rank gets the whole gradient of its own tokens, and of parameters the part that comes
    from its own queries. Summed over ranks, these parts are the gradient of the sum of the losses
    of all ranks: see `sum_gradients`. `DistributedDataParallel` takes the mean over ranks instead
    of the sum: multiply the loss by the number of ranks.

    Parameters
    ----------
    query, key, value : tensor, shapes (..., n, c), (..., m, c), (..., m, c_v)
        The tokens of this rank, as `shard` returns them: if `causal` the chunks i and 2P − 1 − i
        of 2P, for rank i of P, which gives all ranks the same work; otherwise chunk i of P.
    sde : IsotropicSDE, DiagonalSDE or RadialTangentialSDE
        The same on every rank.
    group, mesh : ProcessGroup, or DeviceMesh of one axis, or None
        The ranks in their order; by default all.
    **options
        `weighting`, `inverse_temperature`, `query_times`, `key_times`, `causal`, `anchor`,
        `layout`, `correlated`, `query_variance` and `tile` of `afa_core.attention`, for the
        tokens of this rank; by default times are the positions in the whole sequence. `key_mask`,
        a boolean tensor of shape (..., m), hides keys of this rank where False; results do not
        depend on their contents. With `correlated` every rank gathers the times and key masks of
        all and runs the filter over the whole sequence, which takes O(N) memory a head for N
        tokens, and O(N d) in the diagonal form.

    Returns
    -------
    tensor, shape (..., n, c_v)
        Of the kind, layout and dtype of `value`.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind, dtype or library.
    ValueError
        If shapes or options do not fit each other, or differ from rank to rank.

    References
    ----------
    Spec §9; §14 for correlated keys.
    """
    group = group_of(group, mesh)
    mean: Tensor = _estimate(query, key, value, sde, group, options, return_precision=False)[0]
    return mean


def ring_estimate(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sde: SDE,
    *,
    group: dist.ProcessGroup | None = None,
    mesh: DeviceMesh | None = None,
    **options: Unpack[RingOptions],
) -> Estimate:
    """Return the estimate of `ring_attention` together with its precision.

    Takes the arguments of `ring_attention`, and raises its errors.

    Returns
    -------
    Estimate
        `mean`, which is what `ring_attention` returns, and `precision`, of this rank's queries.

    References
    ----------
    Spec §9, §10.
    """
    group = group_of(group, mesh)
    return Estimate(*_estimate(query, key, value, sde, group, options, return_precision=True))


def _evaluate(
    query: Any,
    key: Any,
    value: Any,
    sde: SDE,
    group: dist.ProcessGroup,
    options: RingOptions,
    *,
    return_precision: bool,
) -> tuple[Any, Any]:
    check_options(options, RingOptions)
    rest: dict[str, Any] = dict(options)
    arguments = {"query": query, "key": key, "value": value, "sde": sde, **rest}
    check_same_on_all_ranks(arguments, return_precision=return_precision, group=group)
    key_mask, tile = rest.pop("key_mask", None), checked_tile(rest.pop("tile", None))
    ranks: Any = RankRing.of(group)

    def run_ring(
        shard: KVShard,
        key_mask: Any,
        operands: Operands,
        static: StaticProblem,
        sizes: Sizes,
        /,
        *,
        return_precision: bool,
        xp: Any,
    ) -> Any:
        context = RingContext(ranks, static, sizes, return_precision)
        tensors = *operands, *pack_shard(shard, key_mask)
        return RingAttention.apply(context, *tensors)  # type: ignore[no-untyped-call]

    return estimate_shard(
        collect_arguments(query, key, value, sde, rest),
        key_mask,
        Ring(ranks.rank, ranks.ranks, ranks.maximum, ranks.gather),
        ENGINE,
        run_ring,
        tile,
        return_precision=return_precision,
    )


_estimate: Any = torch.compiler.disable(_evaluate)  # type: ignore[no-untyped-call]
