"""Layers whose parameters FSDP divides among processes, here a single one."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import distributed as dist  # noqa: E402
from torch.distributed.device_mesh import init_device_mesh  # noqa: E402
from torch.distributed.fsdp import fully_shard  # noqa: E402

from afa_torch import AdaptiveFilterAttention  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Model(torch.nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.layer = AdaptiveFilterAttention(8, 2, **options)

    def forward(self, x):
        return self.layer(x)[0]


@pytest.fixture
def mesh():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_reset(mesh):
    model = Model(device="meta")
    fully_shard(model, mesh=mesh)
    model.to_empty(device="cpu")
    model.layer.reset_parameters()
    found, expected = model.layer.raw_decay.full_tensor(), AdaptiveFilterAttention(8, 2).raw_decay
    assert torch.equal(found, expected)


def test_cast_layer_in_groups_of_one_dtype(mesh):
    """As the guide to training says."""
    model = Model().bfloat16()
    x = torch.randn(1, 5, 8).bfloat16()
    expected = copy.deepcopy(model)(x)
    for each in (*model.layer.children(), model.layer, model):
        fully_shard(each, mesh=mesh)
    output = model(x)
    assert torch.equal(output, expected)
    output.float().sum().backward()
    assert model.layer.raw_decay.grad.dtype == torch.float32
    assert model.layer.q_proj.weight.grad.dtype == torch.bfloat16
