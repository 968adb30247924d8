"""Gradients are summed over ranks for parameters that have them, and for no others."""

import pytest

torch = pytest.importorskip("torch")
afa_torch = pytest.importorskip("afa_torch")


@pytest.fixture
def single_rank():
    dist = torch.distributed
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("single_rank")
def test_frozen_and_unused_parameters_do_not_move():
    trained, frozen, unused = (torch.nn.Parameter(torch.ones(3)) for _ in range(3))
    parameters = [trained, frozen.requires_grad_(False), unused]
    (trained * frozen).sum().backward()
    optimiser = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.5)
    afa_torch.sum_gradients(parameters)
    optimiser.step()
    for each in (frozen, unused):
        assert torch.equal(each, torch.ones(3))
        assert each.grad is None
    assert (trained < 1.0).all()
    afa_torch.sum_gradients([frozen])
