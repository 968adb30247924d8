r"""
A layer in a model
==================

A layer of Adaptive Filter Attention in PyTorch, trained until it predicts as well as
the best filter, read, saved, and run in NumPy.

.. code-block:: sh

    python -m pip install -c constraints.txt '.[layers,torch]' matplotlib

A task whose best answer is known
---------------------------------

Two hidden states, each with two coordinates, return to zero at the rates 0.5 and 0.05
per second. They are measured at irregular times with noise, and mixed: a token is a
measurement of both, multiplied by a matrix that is not given. It shall predict the next
token at the time when it comes. For known parameters the Kalman filter does this best.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
import torch

import afa_core as afa
import afa_numpy
import afa_torch
from afa_core.layer import Start
from afa_torch.nn import MultiheadAttention, parameter_groups

torch.manual_seed(0)
rng = np.random.default_rng(0)
decays = torch.tensor([0.5, 0.05], dtype=torch.float64)  # 1/s
noise = afa.Noise(process=2 * decays, measurement=0.3, query=0.0)
truth = afa.IsotropicSDE(decays, 0.0, noise)
mixing = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0]


def mixed(states):
    """Return tokens, (batch, tokens, 4), from states, (batch, 2, tokens, 2)."""
    return (states.transpose(1, 2).flatten(-2) @ mixing).float()


def draw(batch):
    """Return times, tokens, and the best predictions of all tokens but the first."""
    times = torch.from_numpy(np.cumsum(rng.exponential(size=(batch, 1, 49)), axis=-1))
    initial = torch.from_numpy(rng.standard_normal((batch, 2, 2)) / 2**0.5)
    measured = afa.simulate(truth, times, initial=initial, rng=rng).measurements
    exact = afa.kalman.filter(measured, times, truth).mean[..., :-1, :]
    decay_factor = torch.exp(-decays[:, None] * torch.diff(times))[..., None]
    return times[:, 0].float(), mixed(measured), mixed(decay_factor * exact)


# %%
# The model
# ---------
#
# ``MultiheadAttention`` has the arguments of PyTorch's. Two heads may find the two
# states. Weights are uniform, since no measurement is wrong here; keys are correlated,
# as in :doc:`plot_correlated_keys`. Times are no encoding added to tokens: they are
# arguments, and a query may come later than all keys.


class Predictor(torch.nn.Module):
    def __init__(self):
        super().__init__()
        options = {"weighting": "uniform", "correlated": True, "value_rotation": False}
        start = Start(decay=(0.1, 0.4), gain=(0.3, 0.6))
        self.attention = MultiheadAttention(
            4, 2, bias=False, batch_first=True, start=start, **options
        )
        # True hides a key, as in PyTorch
        later = torch.ones(48, 48, dtype=torch.bool).triu(1)
        self.register_buffer("later", later, persistent=False)

    def forward(self, tokens, times):
        """Return a prediction of every token but the first."""
        past = tokens[:, :-1]
        predicted, _ = self.attention(
            past,
            past,
            past,
            attn_mask=self.later,
            is_causal=True,
            need_weights=False,
            query_times=times[:, 1:],
            key_times=times[:, :-1],
        )
        return predicted


# %%
# Training
# --------
#
# Decays and noises are ordinary parameters. ``parameter_groups`` gives them a learning
# rate of their own and no weight decay. The error is compared with the Kalman filter's
# on sequences that are not trained on.

model, batch, steps = Predictor(), 16, 200
times, tokens, _ = draw(batch * steps)
test_times, test_tokens, best = draw(96)
groups = parameter_groups(model, 0.05, lr_scale=2.0)
optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.95))
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)


def error(predicted, tokens):
    """Return the mean-square error, but for the first four predictions."""
    return (predicted - tokens[:, 1:])[:, 4:].square().mean()


learned, ratios = [], []
for step in range(steps):
    part = slice(batch * step, batch * (step + 1))
    loss = error(model(tokens[part], times[part]), tokens[part])
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    schedule.step()
    if step % 20 == 0 or step == steps - 1:
        with torch.no_grad():
            tested = error(model(test_tokens, test_times), test_tokens)
        ratios.append(float(tested / error(best, test_tokens)))
        sde = model.attention.attention.layer.sde
        quantities = torch.stack([sde.decay, sde.noise.process / sde.noise.measurement])
        learned.append(quantities.detach().numpy())

print(f"error / Kalman filter's: {ratios[0]:.2f}, in the end {ratios[-1]:.3f}")
assert ratios[-1] < 1.01

# %%
# What the heads have learned
# ---------------------------
#
# The decays :math:`\mu` and the ratios :math:`\sigma^2/\eta^2` of both heads end near
# the true ones, which the loss does not contain.

found = np.asarray(learned)  # (times, quantities, heads)
order = np.argsort(-found[-1, 0])
true = np.asarray([[0.5, 0.05], [2 * 0.5 / 0.3, 2 * 0.05 / 0.3]])
print("decays", np.round(found[-1, 0, order], 3), "true", true[0])
print("σ²/η²", np.round(found[-1, 1, order], 2), "true", np.round(true[1], 2))
assert np.all(np.abs(np.log(found[-1][:, order] / true)) < np.log(1.4))

figure, axes = plt.subplots(1, 3, figsize=(8.0, 3.2))
trained = [*range(0, steps, 20), steps - 1]
axes[0].plot(trained, ratios, "k")
axes[0].axhline(1.0, color="black", ls="--", lw=1.0)
axes[0].set(ylabel="error / Kalman filter's")
for axis, quantity, name, ticks in (
    (axes[1], 0, "decay μ, 1/s", (0.05, 0.1, 0.2, 0.5)),
    (axes[2], 1, "σ²/η², 1/s", (0.3, 1.0, 3.0)),
):
    for place, head in enumerate(order):
        label = f"head {place + 1}"
        axis.semilogy(trained, found[:, quantity, head], f"C{place}", label=label)
        axis.axhline(true[quantity, place], color=f"C{place}", ls="--", lw=1.0)
    axis.set_yticks(ticks, [f"{x:g}" for x in ticks])
    axis.minorticks_off()
    axis.set(ylabel=name)
axes[2].plot([], [], "k--", lw=1.0, label="true")
for axis in axes:
    axis.set(xlabel="step")
figure.legend(*axes[2].get_legend_handles_labels(), loc="outside upper right", ncols=3)
plt.show()

# %%
# The slow decay is the less certain one: within 48 tokens its state hardly decays. How
# to choose the start and the learning rates, and what to log, is in
# :doc:`/guides/training`.
#
# From PyTorch to NumPy
# ---------------------
#
# A file holds the settings and the parameters of all layers of a model. NumPy reads it
# without PyTorch.

with TemporaryDirectory() as folder:
    file = Path(folder) / "predictor.safetensors"
    afa_torch.save(file, model)
    layers, _ = afa_numpy.load_layers(file)
(layer,) = layers.values()
past = test_tokens[:, :-1].numpy()
key_times, query_times = test_times[:, :-1].numpy(), test_times[:, 1:].numpy()
predicted = layer(past, past, past, query_times=query_times, key_times=key_times).output
with torch.no_grad():
    difference = np.max(np.abs(predicted - model(test_tokens, test_times).numpy()))
print(f"greatest difference between NumPy and PyTorch: {difference:.0e}")
assert difference < 1e-5

# %%
# That is single precision. The same file goes to JAX, CuPy and ONNX:
# :doc:`/guides/interchange`. Other layers, masks and adapters:
# :doc:`/guides/multihead`.
