"""Compile the kernels for a GPU that need not be there; print what each of them takes, as JSON."""

import json

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from afa_torch.triton.arguments import Flags, KeyArrays, Numbers, Outward, QueryArrays, Results
from afa_torch.triton.forward import forward_kernel
from afa_torch.triton.key_gradients import ThroughKeys, key_kernel
from afa_torch.triton.query_gradients import ThroughQueries, query_kernel
from afa_torch.triton.tuning import FULL, NARROW, WIDE

STUDENT = 2
DEFAULT = Flags(
    128, 128, 128, 128, 0, 0, causal=True, regular=True, masked=False, weighting=STUDENT, power=5,
    directions=0, has_temperature=False, two_sided=False, exits=False, precision="ieee",
    interpreted=False, transposed=False,
)  # fmt: skip
SMALL = {"width": 48, "value_width": 40, "padded": 64, "value_padded": 64}
EVERYTHING = DEFAULT._replace(
    **SMALL, causal=False, regular=False, masked=True, power=-1, directions=2,
    has_temperature=True, two_sided=True,
)  # fmt: skip
EXITS = DEFAULT._replace(**SMALL, directions=1, exits=True)
CASES = {
    "default": (DEFAULT, torch.bfloat16, WIDE, 0),
    "single precision": (DEFAULT, torch.float32, FULL, -1),
    "correlated": (EXITS, torch.float16, NARROW, 0),
    "everything": (EVERYTHING, torch.bfloat16, NARROW, -1),
}


class Hopper:
    """A driver without a device."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


def compile_all(flags, dtype, candidates, which):
    """Return the shared memory and the products in matrix units of each kernel."""
    single, double, small = (
        torch.zeros(16, dtype=x) for x in (torch.float32, torch.float64, dtype)
    )
    integers, mask = torch.zeros(16, dtype=torch.int32), torch.zeros(16, dtype=torch.uint8)
    given = (
        QueryArrays(small, single, double, single, double, double),
        KeyArrays(small, small, single, double, double, double),
        mask,
        single,
        Numbers(4096, 4096, 1, 0, 0, 0, -16.0),
        Results(single, single, single, single, integers),
    )
    outward = Outward(small, single, single)
    kernels = {
        "forward": (forward_kernel, ()),
        "queries": (query_kernel, (outward, ThroughQueries(small, single, single, single, single))),
        "keys": (key_kernel, (outward, ThroughKeys(small, small, single, single, integers))),
    }
    found = {}
    for name, (kernel, more) in kernels.items():
        blocks = candidates[name][which]
        own = flags._replace(block_q=blocks.queries, block_k=blocks.keys, transposed=name == "keys")
        compiled = kernel.warmup(
            *given, *more, own, grid=(1, 1), num_warps=blocks.warps, num_stages=blocks.stages
        )
        found[name] = compiled.metadata.shared, compiled.asm["ptx"].count("wgmma.mma_async")
    return found


if __name__ == "__main__":
    driver.set_active(Hopper())
    assert not triton.knobs.runtime.interpret
    print(json.dumps({name: compile_all(*case) for name, case in CASES.items()}))
