"""Train a small language model in PyTorch; decode it in PyTorch, JAX and NumPy from one file.

The model is trained on the characters of this project's specification. Decoding takes a prompt in
pieces, then single tokens. The logits of every library are compared with those of the parallel
form, and the rate of decoding with that of the same model with rotary dot-product attention.
"""

import argparse
import json
import math
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from array_api_compat import array_namespace
from models import LanguageModel, blocks
from torch.nn.functional import cross_entropy

import afa_jax
import afa_numpy
import afa_torch

TEXT = Path(__file__).parents[1] / "specification.md"
FEATURES, HEADS, BLOCKS = 64, 4, 2
PROMPT, PIECE, CAPACITY = 512, 128, 1024


class Model(NamedTuple):
    """The weights of a language model by name, and its attention layers in order."""

    weights: dict[str, Any]
    layers: list[Any]


class Cache(NamedTuple):
    """Keys and values of a rotary layer, (batch, heads, slots, channels), and the slots used."""

    key: Any
    value: Any
    used: Any


def load_model(library, path):
    """Load a model from a file, over arrays of a library."""
    layers, weights = library.load_layers(path)
    return Model(weights, [layers[f"blocks.{k}.attention.layer."] for k in range(len(layers))])


def linear(weights, name, x, xp):
    """Return x Wᵀ + b."""
    return xp.matmul(x, xp.matrix_transpose(weights[f"{name}.weight"])) + weights[f"{name}.bias"]


def normalise(weights, name, x, xp):
    """Return x divided by its root mean square, times a gain."""
    root = xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + xp.finfo(x.dtype).eps)
    return weights[f"{name}.weight"] * x / root


def perceptron(weights, name, x, xp):
    """Apply a perceptron to every token."""
    x = linear(weights, f"{name}.0", x, xp)
    x = 0.5 * x * (1.0 + xp.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    return linear(weights, f"{name}.2", x, xp)


def forward(model, attend, tokens, caches):
    """Return the logits of new tokens (batch, c), and the updated caches."""
    weights, xp = model.weights, array_namespace(tokens)
    batch, count = tokens.shape
    x = xp.take(weights["embed.weight"], xp.reshape(tokens, (-1,)), axis=0)
    x = xp.reshape(x, (batch, count, -1))
    updated = []
    for k, (layer, cache) in enumerate(zip(model.layers, caches, strict=True)):
        normalised = normalise(weights, f"blocks.{k}.attention_norm", x, xp)
        attended, cache = attend(layer, normalised, cache)
        x = x + attended
        normalised = normalise(weights, f"blocks.{k}.perceptron_norm", x, xp)
        x = x + perceptron(weights, f"blocks.{k}.perceptron", normalised, xp)
        updated.append(cache)
    x = normalise(weights, "norm", x, xp)
    return xp.matmul(x, xp.matrix_transpose(weights["output.weight"])), updated


def filter_step(layer, x, cache):
    """Attend by Adaptive Filter Attention."""
    attended, cache = layer.step(x, cache)
    return attended.output, cache


def rotary_step(write):
    """Return rotary dot-product attention; `write(x, start, y)` stores y in x from `start` on."""

    def attend(layer, x, cache):
        xp = array_namespace(x)
        batch, count, features = x.shape
        shape = (batch, count, 3, HEADS, features // HEADS)
        parts = xp.reshape(linear(layer, "project", x, xp), shape)
        query, key, value = (xp.permute_dims(parts[:, :, k, ...], (0, 2, 1, 3)) for k in range(3))
        position = xp.arange(count, dtype=x.dtype) + cache.used
        angle = position[:, None] * layer["frequency"]
        query, key = (rotate(each, angle, xp) for each in (query, key))
        keys, values = write(cache.key, cache.used, key), write(cache.value, cache.used, value)
        scores = xp.matmul(query, xp.matrix_transpose(keys)) / math.sqrt(features // HEADS)
        visible = xp.arange(keys.shape[-2], dtype=x.dtype) <= position[:, None]
        scores = xp.where(visible, scores, -xp.inf)
        scores = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        attended = xp.matmul(scores / xp.sum(scores, axis=-1, keepdims=True), values)
        attended = xp.reshape(xp.permute_dims(attended, (0, 2, 1, 3)), (batch, count, features))
        return linear(layer, "output", attended, xp), Cache(keys, values, cache.used + count)

    return attend


def rotate(x, angle, xp):
    """Rotate the pairs (x₀, x₁), (x₂, x₃), …"""
    real, imag, cos, sin = x[..., 0::2], x[..., 1::2], xp.cos(angle), xp.sin(angle)
    rotated = xp.stack([real * cos - imag * sin, real * sin + imag * cos], axis=-1)
    return xp.reshape(rotated, x.shape)


def write_in_place(x, start, y):
    """Store y in a mutable array."""
    x[..., start : start + y.shape[-2], :] = y
    return x


def write_in_jax(x, start, y):
    """Return a JAX array in which y is stored."""
    return jax.lax.dynamic_update_slice_in_dim(x, y, start, axis=-2)


def decode(run, tokens, caches, steps):
    """Return all logits, and the seconds of each step after the prompt."""
    logits, seconds = [], []
    for start in range(0, PROMPT, PIECE):
        step_logits, caches = run(tokens[:, start : start + PIECE], caches)
        logits.append(np.asarray(step_logits))
    for k in range(PROMPT, PROMPT + steps):
        begin = time.perf_counter()
        step_logits, caches = run(tokens[:, k : k + 1], caches)
        logits.append(np.asarray(step_logits))
        seconds.append(time.perf_counter() - begin)
    return np.concatenate(logits, axis=1), seconds


def encoded_text():
    """Return the size of the vocabulary, and the text as tokens: the indices of its characters."""
    text = TEXT.read_text(encoding="utf-8")
    vocabulary = sorted(set(text))
    return len(vocabulary), torch.tensor([vocabulary.index(each) for each in text])


def train(kind, data, vocabulary, steps):
    """Return a language model trained on a text, and its final loss in nats per token."""
    torch.manual_seed(0)
    settings = {"normalised": ("query", "key")} if kind == "filter" else {}
    model = LanguageModel(vocabulary, FEATURES, blocks(kind, FEATURES, HEADS, BLOCKS, **settings))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        starts = torch.randint(len(data) - 129, (16, 1))
        rows = data[starts + torch.arange(129)]
        loss = cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return model.eval(), sum(losses[-20:]) / len(losses[-20:])


def rotary_layers(weights):
    """Return the weights of each rotary layer by name."""
    names = ("project.weight", "project.bias", "output.weight", "output.bias", "frequency")
    return [
        {name: weights[f"blocks.{k}.attention.{name}"] for name in names} for k in range(BLOCKS)
    ]


def rotary_caches(layers, zeros):
    """Return empty caches of rotary layers."""
    shape = (1, HEADS, CAPACITY, FEATURES // HEADS)
    return [Cache(zeros(shape), zeros(shape), 0) for _ in layers]


def serve(path, baseline, tokens, steps):
    """Yield the name of each library, then logits and seconds per step of both models."""
    state = {name: x.detach().numpy() for name, x in baseline.state_dict().items()}
    libraries = {
        "torch": (afa_torch, torch.asarray, write_in_place, torch.zeros),
        "jax": (afa_jax, jax.numpy.asarray, write_in_jax, jax.numpy.zeros),
        "numpy": (afa_numpy, np.asarray, write_in_place, lambda s: np.zeros(s, dtype=np.float32)),
    }
    for name, (library, array, write, zeros) in libraries.items():
        model = load_model(library, path)
        weights = {each: array(x) for each, x in state.items()}
        rotary_model = Model(weights, rotary_layers(weights))
        run = partial(forward, model, filter_step)
        run_rotary = partial(forward, rotary_model, rotary_step(write))
        if name == "jax":
            run, run_rotary = jax.jit(run), jax.jit(run_rotary)
        own_tokens, example = array(tokens), zeros((1, 1, FEATURES))
        caches = [layer.empty_cache(example, capacity=CAPACITY) for layer in model.layers]
        with torch.no_grad():
            for _ in range(2):  # the first run compiles and fills caches
                own = decode(run, own_tokens, caches, steps)
                empty = rotary_caches(rotary_model.layers, zeros)
                rotary = decode(run_rotary, own_tokens, empty, steps)
        yield name, *own, *rotary


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="of training")
    parser.add_argument("--tokens", type=int, default=128, help="decoded after the prompt")
    parser.add_argument("--output", type=Path, help="a JSON file for the results")
    options = parser.parse_args()
    vocabulary, data = encoded_text()
    model, loss = train("filter", data, vocabulary, options.steps)
    baseline, rotary_loss = train("rotary", data, vocabulary, options.steps)
    print(f"loss, nats per token: {loss:.3f}, rotary {rotary_loss:.3f}")
    tokens = data[None, : PROMPT + options.tokens].numpy()
    report = {"loss": loss, "loss, rotary": rotary_loss}
    report["libraries"] = compare(model, baseline, tokens, options.tokens)
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")


def compare(model, baseline, tokens, steps):
    """Return the rates of all libraries, and their differences from the parallel form."""
    with torch.no_grad():
        expected, rotary_expected = (
            each(torch.as_tensor(tokens)).numpy() for each in (model, baseline)
        )
    libraries = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        afa_torch.save(path, model)
        for name, logits, seconds, rotary_logits, rotary_seconds in serve(
            path, baseline, tokens, steps
        ):
            error = max(
                np.abs(logits - expected).max(), np.abs(rotary_logits - rotary_expected).max()
            )
            rates = [1.0 / float(np.median(each)) for each in (seconds, rotary_seconds)]
            print(f"{name:6} {rates[0]:6.0f} tokens/s, rotary {rates[1]:6.0f}, error {error:.1e}")
            libraries[name] = {
                "tokens/s": rates[0],
                "tokens/s, rotary": rates[1],
                "greatest difference from the parallel form": float(error),
            }
            assert error < 1e-3, "decoding must equal the parallel form"
    return libraries


if __name__ == "__main__":
    main()
