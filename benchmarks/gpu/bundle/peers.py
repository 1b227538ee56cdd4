#!/usr/bin/env python3
"""Times PyTorch on this machine's GPU: what our kernels are compared with, on the same card in the same run.

Each measurement is the median of device times between CUDA events, after a warm-up, with the L2 cache flushed before each
launch. A measurement that fails (no memory, no such backend, a compiler's error) is a row with its reason, and the next one
runs. Rows go to a file as JSON lines when they are ready, and to the screen as a short table.

    python3 peers.py --out peers.jsonl
    python3 peers.py --only attention --only decode
    python3 peers.py --device cpu --tiny     # a rehearsal of every line without a GPU
"""
from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

MIB = 1 << 20
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
# Batch, heads, length, head dimension.
ATTENTION = [(4, 16, 4096, 128), (1, 16, 16384, 128), (4, 16, 4096, 64)]
# Batch, query heads, key/value heads, cached tokens, head dimension.
DECODE = [(16, 32, 8, 32768, 128), (1, 32, 8, 32768, 128)]
# Rows, hidden length, vocabulary.
CROSS_ENTROPY = [(8192, 2304, 256000), (8192, 2048, 128256)]


@dataclass
class Row:
    """One measurement. `work` names what is computed, so that rows of several programs meet; `peer` names who computes it."""

    work: str
    peer: str
    ms: float | None = None
    spread_percent: float | None = None
    tflops: float | None = None
    gbytes_per_s: float | None = None
    extra_mib: float | None = None
    note: str | None = None
    error: str | None = None


@dataclass
class Measurement:
    """Work to time: `prepare` makes the inputs and returns what is timed, with the bytes of its results if it allocates them."""

    work: str
    peer: str
    prepare: Callable[[], tuple[Callable[[], Any], int]]
    flops: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.25
    note: str | None = None


class Timer:
    """Medians of single launches, each with a cold L2."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_cuda = device.type == "cuda"
        self.flush = torch.empty(256 * MIB if self.is_cuda else MIB, dtype=torch.int8, device=device)

    def time(self, run: Callable[[], Any], seconds: float) -> list[float]:
        run()
        first = self._once(run)
        runs = max(5, min(100, int(seconds * 1e3 / max(first, 1e-3))))
        for _ in range(min(3, runs)):
            run()
        if not self.is_cuda:
            return [self._once(run) for _ in range(3)]
        # All queued before any is waited for: the host's time does not show.
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(runs)]
        for start, end in events:
            self.flush.zero_()
            start.record()
            run()
            end.record()
        torch.cuda.synchronize()
        return [start.elapsed_time(end) for start, end in events]

    def _once(self, run: Callable[[], Any]) -> float:
        self.synchronize()
        start = time.perf_counter()
        run()
        self.synchronize()
        return (time.perf_counter() - start) * 1e3

    def synchronize(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize()


def measure(timer: Timer, what: Measurement) -> Row:
    row = Row(what.work, what.peer, note=what.note)
    try:
        run, result_bytes = what.prepare()
        run()
        if timer.is_cuda:
            timer.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            run()
            timer.synchronize()
            row.extra_mib = round(max(0, torch.cuda.max_memory_allocated() - before - result_bytes) / MIB, 2)
        times = timer.time(run, what.seconds)
        row.ms = statistics.median(times)
        row.spread_percent = round(100 * (max(times) - min(times)) / row.ms, 1)
        if what.flops:
            row.tflops = what.flops / row.ms / 1e9
        if what.bytes:
            row.gbytes_per_s = what.bytes / row.ms / 1e6
    except Exception as error:  # noqa: BLE001  the reason becomes the row
        row.error = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    finally:
        run = None
        if timer.is_cuda:
            torch.cuda.empty_cache()
    return row


def normal(device: torch.device, *shape: int, grad: bool = False) -> torch.Tensor:
    return torch.randn(shape, device=device, dtype=torch.bfloat16).requires_grad_(grad)


def roofs(device: torch.device, tiny: bool) -> Iterator[Measurement]:
    size = (1 if tiny else 2048) * MIB
    n = 64 if tiny else 8192

    def copy() -> tuple[Callable[[], Any], int]:
        source, target = (torch.empty(size, dtype=torch.int8, device=device) for _ in range(2))
        return lambda: target.copy_(source), 0

    def multiply() -> tuple[Callable[[], Any], int]:
        a, b = normal(device, n, n), normal(device, n, n)
        out = torch.empty_like(a)
        return lambda: torch.mm(a, b, out=out), 0

    yield Measurement("copy", "torch", copy, bytes=2.0 * size)
    yield Measurement(f"matmul bf16 {n}", "cublas", multiply, flops=2.0 * n**3, seconds=0.5)


def attention_name(operation: str, shape: tuple[int, int, int, int], causal: bool) -> str:
    b, h, n, d = shape
    return f"attention-{operation} b={b} h={h} q={n} k={n} d={d}{' causal' if causal else ''} bf16"


def attention(device: torch.device, tiny: bool) -> Iterator[Measurement]:
    shapes = [(1, 2, 64, 64)] if tiny else ATTENTION
    # On a CPU only the plain computation is there; it serves to rehearse.
    backends = BACKENDS if device.type == "cuda" else {"math": SDPBackend.MATH}
    for peer, backend in backends.items():
        for shape in shapes:
            for causal in (True, False):
                b, h, n, d = shape
                flops = 4.0 * b * h * n * n * d * (0.5 if causal else 1.0)

                def forward(backend=backend, shape=shape, causal=causal) -> tuple[Callable[[], Any], int]:
                    q, k, v = (normal(device, *shape) for _ in range(3))

                    def run() -> torch.Tensor:
                        with sdpa_kernel(backend):
                            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

                    return run, q.nbytes

                def backward(backend=backend, shape=shape, causal=causal) -> tuple[Callable[[], Any], int]:
                    q, k, v = (normal(device, *shape, grad=True) for _ in range(3))
                    with sdpa_kernel(backend):
                        out = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
                    upstream = torch.randn_like(out)
                    return lambda: torch.autograd.grad(out, (q, k, v), upstream, retain_graph=True), 3 * q.nbytes

                yield Measurement(attention_name("forward", shape, causal), f"sdpa-{peer}", forward, flops=flops)
                yield Measurement(attention_name("backward", shape, causal), f"sdpa-{peer}", backward, flops=2.5 * flops)


def decode(device: torch.device, tiny: bool) -> Iterator[Measurement]:
    backends = BACKENDS if device.type == "cuda" else {"math": SDPBackend.MATH}
    for b, h, kv, n, d in [(2, 4, 2, 64, 64)] if tiny else DECODE:
        work = f"attention-decode b={b} h={h} kv={kv} q=1 k={n} d={d} bf16"
        moved = 2.0 * (2 * b * kv * n * d + 2 * b * h * d)
        group = h // kv

        def prepare(packed: bool, repeated: bool, backend: SDPBackend, sizes=(b, h, kv, n, d)) -> tuple[Callable[[], Any], int]:
            b, h, kv, n, d = sizes
            k, v = normal(device, b, kv, n, d), normal(device, b, kv, n, d)
            # Without a mask a group's query heads may stand as the rows of one head: each key is then read once.
            q = normal(device, b, kv, h // kv, d) if packed else normal(device, b, h, 1, d)
            if repeated:
                k, v = k.repeat_interleave(h // kv, dim=1), v.repeat_interleave(h // kv, dim=1)
            enable_gqa = not (packed or repeated)

            def run() -> torch.Tensor:
                with sdpa_kernel(backend):
                    return F.scaled_dot_product_attention(q, k, v, enable_gqa=enable_gqa)

            return run, q.nbytes

        for peer, backend in backends.items():
            yield Measurement(work, f"sdpa-{peer} gqa", lambda p=prepare, x=backend: p(False, False, x), bytes=moved)
            yield Measurement(work, f"sdpa-{peer} packed", lambda p=prepare, x=backend: p(True, False, x), bytes=moved,
                              note="a group's heads as rows of one head")
        if device.type != "cuda" or torch.cuda.mem_get_info()[0] > 3 * (group + 1) * 2 * b * kv * n * d:
            peer, backend = next(iter(backends.items()))
            yield Measurement(work, f"sdpa-{peer} repeated", lambda p=prepare, x=backend: p(False, True, x), bytes=moved,
                              note="heads repeated in memory")


def loss(hidden: torch.Tensor, classifier: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy((hidden @ classifier.T).float(), targets)


def cross_entropy(device: torch.device, tiny: bool, compiled: bool) -> Iterator[Measurement]:
    peer = "torch.compile" if compiled else "torch eager"
    for n, d, v in [(32, 16, 100)] if tiny else CROSS_ENTROPY:
        def prepare(n=n, d=d, v=v) -> tuple[Callable[[], Any], int]:
            hidden = normal(device, n, d, grad=True)
            classifier = (normal(device, v, d) * d**-0.5).detach().requires_grad_(True)
            targets = torch.randint(0, v, (n,), device=device)
            function = torch.compile(loss, dynamic=False) if compiled else loss

            def run() -> tuple[torch.Tensor, ...]:
                return torch.autograd.grad(function(hidden, classifier, targets), (hidden, classifier))

            return run, hidden.nbytes + classifier.nbytes

        # Half the rows where the logits of all do not fit.
        halves = 0
        while device.type == "cuda" and 14.0 * (n >> halves) * v > torch.cuda.mem_get_info()[0]:
            halves += 1
        rows = n >> halves
        yield Measurement(
            f"cross-entropy-training n={rows} v={v} d={d} bf16", peer, lambda p=prepare, rows=rows: p(n=rows), flops=6.0 * rows * d * v,
            note=f"n={rows} because memory forbids {n}" if halves else None)


def triton_attention(device: torch.device, tiny: bool) -> Iterator[Measurement]:
    for shape in [(1, 2, 128, 64)] if tiny else ATTENTION[:2]:
        for causal in (True, False):
            b, h, n, d = shape

            def prepare(shape=shape, causal=causal) -> tuple[Callable[[], Any], int]:
                from triton_attention import attention_forward  # needs triton, which is not everywhere

                q, k, v = (normal(device, *shape) for _ in range(3))
                ours = attention_forward(q, k, v, causal)
                with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
                    theirs = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
                if (difference := (ours - theirs).abs().max().item()) > 0.05:
                    raise ArithmeticError(f"differs from SDPA by {difference:.3g}")
                return lambda: attention_forward(q, k, v, causal), q.nbytes

            yield Measurement(attention_name("forward", shape, causal), "triton", prepare,
                              flops=4.0 * b * h * n * n * d * (0.5 if causal else 1.0))


def groups(device: torch.device, tiny: bool) -> dict[str, Callable[[], Iterator[Measurement]]]:
    return {
        "roofs": lambda: roofs(device, tiny),
        "attention": lambda: attention(device, tiny),
        "decode": lambda: decode(device, tiny),
        "cross-entropy": lambda: cross_entropy(device, tiny, compiled=False),
        "cross-entropy-compiled": lambda: cross_entropy(device, tiny, compiled=True),
        "triton": lambda: triton_attention(device, tiny),
    }


def describe(device: torch.device) -> dict[str, Any]:
    about: dict[str, Any] = {"torch": torch.__version__, "device": device.type}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about |= {
            "device": properties.name, "multiprocessors": properties.multi_processor_count,
            "memory_gib": round(properties.total_memory / 2**30, 1), "l2_mib": properties.L2_cache_size / MIB,
            "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
        }
    return about


def line(row: Row) -> str:
    if row.error:
        return f"{row.work:58} {row.peer:22} {row.error[:60]}"
    rate = f"{row.tflops:8.1f} TFLOP/s" if row.tflops else f"{row.gbytes_per_s:8.1f} GB/s"
    extra = f" {row.extra_mib:9.1f} MiB" if row.extra_mib is not None else ""
    return f"{row.work:58} {row.peer:22} {row.ms:9.3f} ms {rate}{extra}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="peers.jsonl", help="file for the rows, one JSON object a line")
    parser.add_argument("--only", action="append", default=[], help="a group of measurements (may be repeated), or a part of a work's name")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to rehearse")
    parser.add_argument("--time-limit", type=float, default=95, help="seconds after which no further measurement is begun")
    arguments = parser.parse_args()

    begin = time.perf_counter()
    device = torch.device(arguments.device)
    torch.manual_seed(1)
    timer = Timer(device)
    left_out = 0
    with open(arguments.out, "w", encoding="utf-8") as out:
        def write(values: dict[str, Any]) -> None:
            print(json.dumps({key: value for key, value in values.items() if value is not None}), file=out, flush=True)

        about = describe(device)
        write({"about": about})
        print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
        for name, measurements in groups(device, arguments.tiny).items():
            for what in measurements():
                if arguments.only and not any(only == name or only in what.work for only in arguments.only):
                    continue
                if time.perf_counter() - begin > arguments.time_limit:
                    left_out += 1
                    continue
                row = measure(timer, what)
                write(asdict(row))
                print(line(row), flush=True)
    if left_out:
        print(f"{left_out} measurements were left out: the time limit of {arguments.time_limit:g} s was reached")


if __name__ == "__main__":
    main()
