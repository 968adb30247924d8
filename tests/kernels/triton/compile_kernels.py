"""Compile the kernels for a GPU that need not be there; print what each of them takes, as JSON."""

import json

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from afa_torch.triton.arguments import (
    Across,
    Flags,
    KeyArrays,
    Numbers,
    Outward,
    QueryArrays,
    Results,
)
from afa_torch.triton.forward import forward_kernel
from afa_torch.triton.key_gradients import ThroughKeys, key_kernel
from afa_torch.triton.query_gradients import ThroughQueries, query_kernel
from afa_torch.triton.radial_tangential import Components
from afa_torch.triton.radial_tangential_forward import both_forward_kernel
from afa_torch.triton.radial_tangential_key import both_key_kernel
from afa_torch.triton.radial_tangential_query import both_query_kernel
from afa_torch.triton.radial_tangential_run import BothQueries
from afa_torch.triton.tuning import BOTH, FULL, NARROW, WIDE

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
    "radial-tangential": (EXITS, torch.bfloat16, BOTH, 0),
}


class Hopper:
    """A driver without a device."""

    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


SINGLE, DOUBLE = (torch.zeros(16, dtype=x) for x in (torch.float32, torch.float64))
INTEGERS, MASK = torch.zeros(16, dtype=torch.int32), torch.zeros(16, dtype=torch.uint8)
NUMBERS = Numbers(4096, 4096, 1, 0, 0, 0, -16.0)
ACROSS = Across(SINGLE, DOUBLE)
RESULTS = Results(SINGLE, SINGLE, SINGLE, SINGLE, INTEGERS)


def of_one(dtype):
    """Return the kernels of a form of one component, with their arguments."""
    small = torch.zeros(16, dtype=dtype)
    queries = QueryArrays(small, SINGLE, DOUBLE, SINGLE, DOUBLE, DOUBLE)
    keys = KeyArrays(small, small, SINGLE, DOUBLE, DOUBLE, DOUBLE)
    given = queries, keys, MASK, SINGLE, NUMBERS, ACROSS, RESULTS
    outward = Outward(small, SINGLE, SINGLE)
    of_keys = ThroughKeys(small, small, SINGLE, SINGLE, INTEGERS, SINGLE)
    through = ThroughQueries(small, SINGLE, SINGLE, SINGLE, SINGLE)
    return {
        "forward": (forward_kernel, given),
        "queries": (query_kernel, (*given, outward, through)),
        "keys": (
            key_kernel,
            (*given, outward, of_keys),
        ),
    }


def of_two(dtype):
    """Return the kernels of the radial-tangential form, with their arguments."""

    def twice(x):
        return Components(x, x)

    (_, one), (_, (*_, outward, through)), (_, (*_, of_keys)) = of_one(dtype).values()
    queries, keys, *_ = one
    arrays = twice(queries), twice(keys), MASK, twice(SINGLE), NUMBERS
    given = *arrays, twice(ACROSS), twice(RESULTS)
    of_queries = BothQueries(through, through, SINGLE)
    of_keys = of_keys._replace(level=twice(SINGLE), model=twice(SINGLE))
    return {
        "both forward": (both_forward_kernel, given),
        "both queries": (both_query_kernel, (*given, twice(outward), of_queries)),
        "both keys": (both_key_kernel, (*given, twice(outward), of_keys)),
    }


def compile_all(flags, dtype, candidates, which):
    """Return the shared memory and the products in matrix units of each kernel."""
    found = {}
    kernels = of_two(dtype) if candidates is BOTH else of_one(dtype)
    for name, (kernel, given) in kernels.items():
        blocks = candidates[name][which]
        own = flags._replace(
            block_q=blocks.queries, block_k=blocks.keys, transposed=name.endswith("keys")
        )
        compiled = kernel.warmup(
            *given, own, grid=(1, 1), num_warps=blocks.warps, num_stages=blocks.stages
        )
        found[name] = compiled.metadata.shared, compiled.asm["ptx"].count("wgmma.mma_async")
    return found


if __name__ == "__main__":
    driver.set_active(Hopper())
    assert not triton.knobs.runtime.interpret
    print(json.dumps({name: compile_all(*case) for name, case in CASES.items()}))
