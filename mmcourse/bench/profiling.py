"""Where the time of a call goes, and how much memory it takes, by PyTorch's profiler."""

import torch
from torch.profiler import ProfilerActivity, profile

KINDS = {
    "matrix products": ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm"),
    "fused attention": ("scaled_dot",),
    "convolutions": ("conv",),
    "softmax": ("softmax",),
    "GELU": ("gelu",),
    "norms": ("norm",),
    "optimiser": ("adam",),
    "compiled": ("compiled", "graph_"),
    "copies": ("copy", "cat", "index", "clone", "gather"),
}  # parts of the names of PyTorch's operations; of matrix products, the whole names


def shares(race, run):
    """The share of each kind of work in the time of a call, the largest first.

    "Python" is what lies between PyTorch's operations, and the profiler itself makes it larger.
    """
    on_gpu = race.device.type == "cuda"
    activities = [ProfilerActivity.CPU]
    if on_gpu:
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as seen:
        seconds = race.time(run)
    found = {}
    for event in seen.key_averages():
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        kind = kind_of(event.key)
        found[kind] = found.get(kind, 0.0) + microseconds / 1e6 / seconds
    found["Python"] = max(0.0, 1 - sum(found.values()))
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def kind_of(operation):
    """The kind of work of an operation, by its name."""
    if operation in KINDS["matrix products"]:
        return "matrix products"
    for kind, parts in KINDS.items():
        if kind != "matrix products" and any(part in operation.lower() for part in parts):
            return kind
    return "other"


def peak_memory(race, run):
    """The most bytes that a call held at once, beyond what there was before it."""
    if race.device.type == "cuda":
        return peak_memory_of_gpu(race, run)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    events = [
        event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    events.sort(key=lambda event: event.start_ns())
    held = 0
    peak = 0
    for event in events:
        held += event.nbytes()  # below 0 when memory is given back
        peak = max(peak, held)
    return peak


def peak_memory_of_gpu(race, run):
    before = torch.cuda.memory_allocated(race.device)
    torch.cuda.reset_peak_memory_stats(race.device)
    run()
    race.wait()
    return torch.cuda.max_memory_allocated(race.device) - before
