#!/usr/bin/python3
"""Writes torch_golden.json: what PyTorch's own optimizers and schedules compute.

Needs Debian's python3-torch (1.13.1). Run it again only to add a case; the tests read the file.

    /usr/bin/python3 tests/server/compute/golden/make_golden.py
"""

import json
import pathlib
import re

import torch

STEPS = 12
ELEMENTS = 9  # neither a whole number of vectors, nor less than one
LR = 0.05

# Our kind: PyTorch's optimizer, and its arguments beside lr and weight_decay.
OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (torch.optim.Adam, {"betas": (0.9, 0.999), "eps": 1e-8}),
    "adamw": (torch.optim.AdamW, {"betas": (0.8, 0.99), "eps": 1e-6}),
    "adagrad": (torch.optim.Adagrad, {"eps": 1e-10}),
}
WEIGHT_DECAYS = (0.0, 0.1)

SCHEDULES = (
    {"kind": "constant"},
    {"kind": "constant", "warmup_rounds": 5},
    {"kind": "step", "step_rounds": 3, "gamma": 0.5},
    {"kind": "step", "step_rounds": 4, "gamma": 0.1, "warmup_rounds": 6},
    {"kind": "cosine", "total_rounds": 40},
    {"kind": "cosine", "total_rounds": 37, "min_lr": 0.01, "warmup_rounds": 7},
)
ROUNDS = 36  # less than any total_rounds: PyTorch's cosine goes up again afterwards


def options_of(kind, arguments, weight_decay):
    """The arguments under the names that OptimizerOptions has for them."""
    options = {"kind": kind, "lr": LR, "weight_decay": weight_decay}
    if "betas" in arguments:
        options["beta1"], options["beta2"] = arguments["betas"]
    if "eps" in arguments:
        options["epsilon"] = arguments["eps"]
    if "momentum" in arguments:
        options["momentum"] = arguments["momentum"]
    return options


def run_optimizer(kind, weight_decay):
    """Takes STEPS steps with random gradients, some of them zero or tiny."""
    factory, arguments = OPTIMIZERS[kind]
    torch.manual_seed(7)
    params = torch.nn.Parameter(torch.randn(ELEMENTS))
    optimizer = factory([params], lr=LR, weight_decay=weight_decay, **arguments)
    initial, gradients, results = params.tolist(), [], []
    for step in range(STEPS):
        gradient = torch.randn(ELEMENTS)
        gradient[step % ELEMENTS] = 0.0
        gradient[(step + 1) % ELEMENTS] *= 1e-4
        params.grad = gradient.clone()
        optimizer.step()
        gradients.append(gradient.tolist())
        results.append(params.tolist())
    return {
        "options": options_of(kind, arguments, weight_decay),
        "initial": initial,
        "gradients": gradients,
        "params": results,
    }


def main_scheduler(optimizer, options):
    """PyTorch's scheduler for what follows the warm-up."""
    schedulers = torch.optim.lr_scheduler
    if options["kind"] == "step":
        return schedulers.StepLR(optimizer, options["step_rounds"], options["gamma"])
    if options["kind"] == "cosine":
        length = options["total_rounds"] - options.get("warmup_rounds", 0)
        return schedulers.CosineAnnealingLR(optimizer, length, options.get("min_lr", 0.0))
    return schedulers.LambdaLR(optimizer, lambda epoch: 1.0)


def run_schedule(options):
    """The rate of each of the first ROUNDS versions."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    schedulers = torch.optim.lr_scheduler
    warmup = options.get("warmup_rounds", 0)
    if warmup:
        ramp = schedulers.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
        both = [ramp, main_scheduler(optimizer, options)]
        scheduler = schedulers.SequentialLR(optimizer, both, [warmup])
    else:
        scheduler = main_scheduler(optimizer, options)
    rates = []
    for _ in range(ROUNDS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return {"options": options, "base_lr": LR, "rates": rates}


def one_row_per_line(text):
    """Puts each array of plain numbers on one line."""
    return re.sub(
        r"\[([^][{}]*)\]", lambda row: "[" + " ".join(row.group(1).split()) + "]", text
    )


def main_scheduler(optimizer, options):
    """PyTorch's scheduler for what follows the warm-up."""
    schedulers = torch.optim.lr_scheduler
    if options["kind"] == "step":
        return schedulers.StepLR(optimizer, options["step_rounds"], options["gamma"])
    if options["kind"] == "cosine":
        length = options["total_rounds"] - options.get("warmup_rounds", 0)
        return schedulers.CosineAnnealingLR(optimizer, length, options.get("min_lr", 0.0))
    return schedulers.LambdaLR(optimizer, lambda epoch: 1.0)


def run_schedule(options):
    """The rate of each of the first ROUNDS versions."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    schedulers = torch.optim.lr_scheduler
    warmup = options.get("warmup_rounds", 0)
    if warmup:
        ramp = schedulers.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
        both = [ramp, main_scheduler(optimizer, options)]
        scheduler = schedulers.SequentialLR(optimizer, both, [warmup])
    else:
        scheduler = main_scheduler(optimizer, options)
    rates = []
    for _ in range(ROUNDS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return {"options": options, "base_lr": LR, "rates": rates}


def one_row_per_line(text):
    """Puts each array of plain numbers on one line."""
    squeeze = lambda row: "[" + " ".join(row.group(1).split()) + "]"
    return re.sub(r"\[([^][{}]*)\]", squeeze, text)


def main_scheduler(optimizer, options):
    """PyTorch's scheduler for what follows the warm-up."""
    schedulers = torch.optim.lr_scheduler
    if options["kind"] == "step":
        return schedulers.StepLR(optimizer, options["step_rounds"], options["gamma"])
    if options["kind"] == "cosine":
        length = options["total_rounds"] - options.get("warmup_rounds", 0)
        return schedulers.CosineAnnealingLR(optimizer, length, options.get("min_lr", 0.0))
    return schedulers.LambdaLR(optimizer, lambda epoch: 1.0)


def run_schedule(options):
    """The rate of each of the first ROUNDS versions."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    schedulers = torch.optim.lr_scheduler
    warmup = options.get("warmup_rounds", 0)
    if warmup:
        ramp = schedulers.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
        both = [ramp, main_scheduler(optimizer, options)]
        scheduler = schedulers.SequentialLR(optimizer, both, [warmup])
    else:
        scheduler = main_scheduler(optimizer, options)
    rates = []
    for _ in range(ROUNDS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return {"options": options, "base_lr": LR, "rates": rates}


def one_row_per_line(text):
    """Puts each array of plain numbers on one line."""
    return re.sub(r"\[[^][{}]*\]", lambda row: " ".join(row.group().split()).replace("[ ", "[").replace(" ]", "]"), text)


def main():
    golden = {
        "torch": torch.__version__,
        "optimizers": [run_optimizer(kind, d) for kind in OPTIMIZERS for d in WEIGHT_DECAYS],
        "schedules": [run_schedule(options) for options in SCHEDULES],
    }
    path = pathlib.Path(__file__).with_name("torch_golden.json")
    path.write_text(one_row_per_line(json.dumps(golden, indent=1)) + "\n")


if __name__ == "__main__":
    main()
