"""The time of a training step of each candidate of `language.py`, over that of rotary attention.

python training_time.py        # alternates between all of them, and prints a table
"""

import argparse
import statistics
import time

import torch
from attention import CANDIDATES, model_of
from standard_library import draw, texts
from training import BATCH, CONTEXT, descend, optimiser_of

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    text, *_ = texts()
    models = {candidate: model_of(candidate) for candidate in CANDIDATES}
    optimisers = {candidate: optimiser_of(model, 1e-3) for candidate, model in models.items()}
    seconds = {candidate: [] for candidate in CANDIDATES}
    for step in range(options.rounds + 1):
        piece = draw(text, 0, step, batch=BATCH, size=CONTEXT + 1)
        for candidate, model in models.items():
            start = time.perf_counter()
            descend(model, optimisers[candidate], piece)
            if step:  # the first one compiles
                seconds[candidate].append(time.perf_counter() - start)
    print("| attention | milliseconds | over rotary |")
    print("|---|---|---|")
    for candidate, own in seconds.items():
        ratio = statistics.median(x / y for x, y in zip(own, seconds["rotary"], strict=True))
        print(f"| {candidate} | {1e3 * statistics.median(own):.0f} | {ratio:.2f} |")
