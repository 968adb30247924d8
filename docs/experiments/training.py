"""The training of the language models, which goes on where it was stopped."""

import math
import time

import torch
from attention import dynamics, model_of
from standard_library import draw
from torch import nn
from torch.nn import functional

from afa_torch.nn import parameter_groups

CONTEXT, BATCH = 256, 16


def rate(step, steps):
    """Rise over the first twentieth, then fall as a cosine to a twentieth."""
    rise = min(1.0, (step + 1) / (0.05 * steps))
    return rise * (0.525 + 0.475 * math.cos(math.pi * step / steps))


def descend(model, optimiser, piece):
    """Take a step of training, and return the loss in nats."""
    loss = functional.cross_entropy(model(piece[:, :-1]).flatten(0, 1), piece[:, 1:].flatten())
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return loss.item()


def optimiser_of(model, lr):
    """Return the optimiser of all candidates."""
    return torch.optim.AdamW(parameter_groups(model, lr, weight_decay=0.1), betas=(0.9, 0.95))


def train(candidate, text, *, seed, lr, steps, checkpoint, device):
    """Return a trained model, the seconds that it took, and its dynamics at some steps."""
    torch.manual_seed(seed)
    model = model_of(candidate).to(device)
    optimiser = optimiser_of(model, lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, steps))
    state = {"model": model, "optimiser": optimiser, "schedule": schedule}
    first, seconds, history = 0, 0.0, []
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True, map_location=device)
        first, seconds, history = saved["step"], saved["seconds"], saved["history"]
        for name, x in state.items():
            x.load_state_dict(saved[name])
    start = time.perf_counter() - seconds
    for step in range(first, steps):
        piece = draw(text, seed, step, batch=BATCH, size=CONTEXT + 1).to(device)
        loss = descend(model, optimiser, piece)
        schedule.step()
        if (step + 1) % 50 == 0 or step + 1 == steps:
            seconds = time.perf_counter() - start
            history.append([step + 1, round(loss / math.log(2.0), 4), dynamics(model)])
            own = {name: x.state_dict() for name, x in state.items()}
            own |= {"step": step + 1, "seconds": seconds, "history": history}
            torch.save(own, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
            print(f"{candidate} {seed} {lr}: step {step + 1}, {history[-1][1]} bits", flush=True)
    return model.eval(), seconds, history
