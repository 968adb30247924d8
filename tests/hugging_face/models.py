"""Tiny random models of Transformers, and token ids with padding for them."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
adaptive = pytest.importorskip("afa_torch.transformers")

VOCABULARY, TOKENS = 64, 24
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "initializer_range": 0.1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": None,
}
GROUPED = {"num_key_value_heads": 2}
FAMILIES = {
    "llama": ("Llama", GROUPED),
    "qwen2": ("Qwen2", GROUPED),
    "mistral": ("Mistral", GROUPED | {"sliding_window": 9}),
    "gpt_neox": ("GPTNeoX", {}),
}
STEPS = {"do_sample": False, "max_new_tokens": 50}


def make(family="llama", *, dtype=torch.float32, seed=0, **changes):
    """Return a causal language model, whose norms have random gains and whose biases are random."""
    name, sizes = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**SIZES | sizes | changes)
    torch.manual_seed(seed)
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn_like(parameter)
    return model.to(dtype).eval()


def draw(batch=3, tokens=TOKENS, seed=1):
    """Return random token ids, none of which is padding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (batch, tokens), generator=generator)


def padded(batch=3, tokens=TOKENS, side="left"):
    """Return the mask of a batch whose sequences have different lengths."""
    missing = torch.tensor([0, 7, 2])[:batch, None]
    mask = (torch.arange(tokens) >= missing).long()
    return mask if side == "left" else mask.flip(-1)


def dynamics(model):
    """Return the parameters of all attention modules."""
    return [each for each in model.modules() if isinstance(each, adaptive.Dynamics)]


def moved(model, seed=2):
    """Move dynamics and noise away from the rotary limit, in place; half of them change sign."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in dynamics(model):
            for name, x in each.named_parameters():
                start = 0.1 if name in ("raw_decay", "raw_process") else x
                x.copy_(start * (0.5 + torch.rand(x.shape, generator=generator)))
                x[::2] *= -1.0
    return model


def difference(found, expected, mask=None):
    """Return the greatest difference of the logits of tokens that are not padding."""
    error = (found.detach() - expected.detach()).abs().amax(-1)
    return float((error if mask is None else error * mask).max())
