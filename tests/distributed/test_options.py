"""Ring attention takes the options of attention."""

from afa_core._checks.arguments import Options
from afa_core.distributed.shards import RingOptions


def test_options_are_those_of_attention_without_a_mask_of_pairs():
    own, all_options = (
        {name: hint.__forward_arg__ for name, hint in options.__annotations__.items()}
        for options in (RingOptions, Options)
    )
    assert own.pop("key_mask") == all_options.pop("mask")
    assert own.pop("tile") == "int | None"
    assert own == all_options
    assert not RingOptions.__required_keys__
