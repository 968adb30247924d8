"""Ring attention, and attention to a part of the keys, take the options of attention."""

from afa_core._checks.arguments import ProblemOptions
from afa_core.decoding.partial import PartialOptions
from afa_core.distributed.shards import RingOptions


def hints(options):
    return {name: hint.__forward_arg__ for name, hint in options.__annotations__.items()}


def test_options_are_those_of_attention_without_a_mask_of_pairs():
    own, all_options = hints(RingOptions), hints(ProblemOptions)
    assert own.pop("key_mask") == all_options.pop("mask")
    assert own.pop("tile") == "int | None"
    assert own == all_options
    assert not RingOptions.__required_keys__


def test_options_of_a_part_are_those_of_attention():
    own = hints(PartialOptions)
    assert own.pop("influence") == "KeyInfluence | None"
    assert own == hints(ProblemOptions)
