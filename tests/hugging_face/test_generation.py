"""Converted models away from the rotary limit: token by token is all at once."""

import pytest

from .models import STEPS, adaptive, difference, draw, make, moved, padded, torch

TOKENS = 10


def converted(family="llama"):
    return moved(adaptive.convert(make(family), sample=draw()))


def test_dynamics_matter():
    model = adaptive.convert(make(), sample=draw())
    before = model(draw()).logits
    assert difference(moved(model)(draw()).logits, before) > 1e-2


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("family", ["llama", "mistral", "gpt_neox"])
def test_generated_tokens_are_those_of_the_parallel_form(family, cache):
    model, mask, prompt = converted(family), padded(tokens=TOKENS), draw(tokens=TOKENS)
    steps = STEPS | {"max_new_tokens": 20, "cache_implementation": cache, "disable_compile": True}
    found = model.generate(prompt, attention_mask=mask, **steps)
    seen = torch.cat([mask, torch.ones(3, 20, dtype=mask.dtype)], dim=-1)
    positions = (seen.cumsum(-1) - 1).clamp_min(0)
    with torch.no_grad():
        logits = model(found, attention_mask=seen, position_ids=positions).logits
    assert torch.equal(logits[:, TOKENS - 1 : -1].argmax(-1), found[:, TOKENS:])


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_pieces_of_a_sequence(family):
    model, ids = converted(family), draw()
    with torch.no_grad():
        expected, cache, logits = model(ids).logits, None, []
        for piece in ids.split([8, 1, 6, 9], dim=-1):
            output = model(piece, use_cache=True, **({"cache": cache} if cache else {}))
            cache = output.cache
            logits.append(output.logits)
    assert difference(torch.cat(logits, dim=1), expected) < 1e-5


def test_beams():
    model = converted()
    found = model.generate(draw(tokens=TOKENS), num_beams=3, do_sample=False, max_new_tokens=8)
    assert found.shape == (3, TOKENS + 8)


def test_packed_sequences_do_not_see_each_other():
    model, ids = converted(), draw(batch=1)
    positions = torch.cat([torch.arange(10), torch.arange(14)])[None]
    with torch.no_grad():
        found = model(ids, position_ids=positions, use_cache=False).logits
        expected = torch.cat([model(part).logits for part in ids.split([10, 14], dim=-1)], dim=1)
    assert difference(found, expected) < 1e-5
