"""Train a small language model in PyTorch; decode it in PyTorch, JAX and NumPy from one file.

It learns the characters of this project's own specification. A prompt comes in pieces, then one
token after another; every library's logits are compared with those of the parallel form, and its
tokens a second with those of the same model with rotary dot-product attention.
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
PROMPT, PIECE = 512, 128


class Model(NamedTuple):
    """The weights of a language model by name, and its layers of attention by number."""

    weights: dict[str, Any]
    layers: list[Any]


class Cache(NamedTuple):
    """Keys and values of a rotary layer, (batch, heads, slots, channels), and their number."""

    key: Any
    value: Any
    used: Any


def read(library, path):
    """Return the model of a file, over arrays of a library."""
    layers, weights = library.load_layers(path)
    return Model(weights, [layers[f"blocks.{k}.attention.layer."] for k in range(len(layers))])


def linear(weights, name, x, xp):
    """Return x Wᵀ + b."""
    return xp.matmul(x, xp.matrix_transpose(weights[f"{name}.weight"])) + weights[f"{name}.bias"]


def normalise(weights, name, x, xp):
    """Return x over its root mean square, times a gain."""
    root = xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + xp.finfo(x.dtype).eps)
    return weights[f"{name}.weight"] * x / root


def perceive(weights, name, x, xp):
    """Return the perceptron of every token."""
    x = linear(weights, f"{name}.0", x, xp)
    x = 0.5 * x * (1.0 + xp.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    return linear(weights, f"{name}.2", x, xp)


def forward(model, attend, tokens, caches):
    """Return the logits after tokens (batch, c), and the caches with them."""
    weights, xp = model.weights, array_namespace(tokens)
    batch, count = tokens.shape
    x = xp.take(weights["embed.weight"], xp.reshape(tokens, (-1,)), axis=0)
    x = xp.reshape(x, (batch, count, -1))
    after = []
    for k, (layer, cache) in enumerate(zip(model.layers, caches, strict=True)):
        found, cache = attend(layer, normalise(weights, f"blocks.{k}.before", x, xp), cache)
        x = x + found
        between = normalise(weights, f"blocks.{k}.between", x, xp)
        x = x + perceive(weights, f"blocks.{k}.perceptron", between, xp)
        after.append(cache)
    x = normalise(weights, "norm", x, xp)
    return xp.matmul(x, xp.matrix_transpose(weights["read.weight"])), after


def filtering(layer, x, cache):
    """Attend by a layer of this library."""
    found, cache = layer.step(x, cache)
    return found.output, cache


def rotary(write):
    """Return attention by dot products, where `write(x, at, y)` puts y into x from a place on."""

    def attend(layer, x, cache):
        xp = array_namespace(x)
        batch, count, features = x.shape
        shape = (batch, count, 3, HEADS, features // HEADS)
        parts = xp.reshape(linear(layer, "project", x, xp), shape)
        query, key, value = (xp.permute_dims(parts[:, :, k, ...], (0, 2, 1, 3)) for k in range(3))
        place = xp.arange(count, dtype=x.dtype) + cache.used
        angle = place[:, None] * layer["frequency"]
        query, key = (turn(each, angle, xp) for each in (query, key))
        keys, values = write(cache.key, cache.used, key), write(cache.value, cache.used, value)
        scores = xp.matmul(query, xp.matrix_transpose(keys)) / math.sqrt(features // HEADS)
        seen = xp.arange(keys.shape[-2], dtype=x.dtype) <= place[:, None]
        scores = xp.where(seen, scores, -xp.inf)
        scores = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        found = xp.matmul(scores / xp.sum(scores, axis=-1, keepdims=True), values)
        found = xp.reshape(xp.permute_dims(found, (0, 2, 1, 3)), (batch, count, features))
        return linear(layer, "output", found, xp), Cache(keys, values, cache.used + count)

    return attend


def turn(x, angle, xp):
    """Turn the pairs (x₀, x₁), (x₂, x₃), …"""
    real, imag, cos, sin = x[..., 0::2], x[..., 1::2], xp.cos(angle), xp.sin(angle)
    turned = xp.stack([real * cos - imag * sin, real * sin + imag * cos], axis=-1)
    return xp.reshape(turned, x.shape)


def in_place(x, at, y):
    """Write into an array that can be written to."""
    x[..., at : at + y.shape[-2], :] = y
    return x


def updated(x, at, y):
    """Write in JAX."""
    return jax.lax.dynamic_update_slice_in_dim(x, y, at, axis=-2)


def decode(run, tokens, caches, steps):
    """Return all logits, and the seconds of each step after the prompt came in pieces."""
    logits, seconds = [], []
    for start in range(0, PROMPT, PIECE):
        found, caches = run(tokens[:, start : start + PIECE], caches)
        logits.append(np.asarray(found))
    for k in range(PROMPT, PROMPT + steps):
        begun = time.perf_counter()
        found, caches = run(tokens[:, k : k + 1], caches)
        logits.append(np.asarray(found))
        seconds.append(time.perf_counter() - begun)
    return np.concatenate(logits, axis=1), seconds


def text():
    """Return the characters that there are, and the text as their numbers."""
    characters = TEXT.read_text(encoding="utf-8")
    known = sorted(set(characters))
    return known, torch.tensor([known.index(each) for each in characters])


def train(kind, data, vocabulary, steps):
    """Return a language model trained on pieces of a text, and its last loss in nats a token."""
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


def rooms(weights, zeros):
    """Return empty caches of rotary layers."""
    shape = (1, HEADS, 1024, FEATURES // HEADS)
    return [Cache(zeros(shape), zeros(shape), 0) for _ in weights]


def serve(path, twin, tokens, steps):
    """Yield a library's name, its logits, and the seconds of its steps and of its twin's."""
    names = ("project.weight", "project.bias", "output.weight", "output.bias", "frequency")
    numbers = {name: x.detach().numpy() for name, x in twin.state_dict().items()}
    libraries = {
        "torch": (afa_torch, torch.asarray, in_place, torch.zeros),
        "jax": (afa_jax, jax.numpy.asarray, updated, jax.numpy.zeros),
        "numpy": (afa_numpy, np.asarray, in_place, lambda s: np.zeros(s, dtype=np.float32)),
    }
    for name, (library, array, write, zeros) in libraries.items():
        model = read(library, path)
        weights = {each: array(x) for each, x in numbers.items()}
        layers = [
            {each: weights[f"blocks.{k}.attention.{each}"] for each in names} for k in range(BLOCKS)
        ]

        run = partial(forward, model, filtering)
        dot = partial(forward, Model(weights, layers), rotary(write))
        if name == "jax":
            run, dot = jax.jit(run), jax.jit(dot)
        own = array(tokens)
        like = zeros((1, 1, FEATURES))
        caches = [layer.empty_cache(like, capacity=1024) for layer in model.layers]
        # once for what is compiled or cached
        with torch.no_grad():
            for _ in range(2):
                logits, seconds = decode(run, own, caches, steps)
                theirs, others = decode(dot, own, rooms(layers, zeros), steps)
        yield name, logits, seconds, theirs, others


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="of training")
    parser.add_argument("--tokens", type=int, default=128, help="decoded after the prompt")
    parser.add_argument("--output", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    known, data = text()
    model, loss = train("filter", data, len(known), options.steps)
    twin, loss_of_twin = train("rotary", data, len(known), options.steps)
    print(f"loss, nats a token: {loss:.3f}, rotary {loss_of_twin:.3f}")
    tokens = data[None, : PROMPT + options.tokens].numpy()
    with torch.no_grad():
        parallel, other = (each(torch.as_tensor(tokens)).numpy() for each in (model, twin))
    report = {"loss": loss, "loss, rotary": loss_of_twin, "libraries": {}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        afa_torch.save(path, model)
        for name, logits, seconds, theirs, others in serve(path, twin, tokens, options.tokens):
            error = max(np.abs(logits - parallel).max(), np.abs(theirs - other).max())
            rates = [1.0 / float(np.median(each)) for each in (seconds, others)]
            print(f"{name:6} {rates[0]:6.0f} tokens/s, rotary {rates[1]:6.0f}, error {error:.1e}")
            report["libraries"][name] = {
                "tokens/s": rates[0],
                "tokens/s, rotary": rates[1],
                "greatest difference from the parallel form": float(error),
            }
            assert error < 1e-3, "decoding must say what the parallel form says"
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
