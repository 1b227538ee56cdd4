#!/usr/bin/env python3
"""Merges what `run` left in a folder (about.txt, peers.jsonl, bench.jsonl, verify.log, sanitize.log) into report.md: ours beside PyTorch's."""
from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Entry:
    """One program's time for a piece of work."""

    work: str
    name: str
    is_ours: bool
    ms: float | None = None
    extra_mib: float | None = None
    spread_percent: float | None = None
    note: str = ""


def read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def read_peers(path: Path) -> Iterator[Entry]:
    for row in read_lines(path):
        if "work" in row:
            yield Entry(row["work"], row["peer"], False, row.get("ms"), row.get("extra_mib"), row.get("spread_percent"),
                        row.get("error") or row.get("note") or "")


def read_ours(path: Path) -> Iterator[Entry]:
    for document in read_lines(path):
        for row in document["results"]:
            micros, extra = row.get("medianMicroseconds"), row.get("extraBytes")
            yield Entry(f"{document['operation']} {row['problem']}", row["kernel"].split("/")[1], True, micros and micros / 1e3,
                        extra and extra / (1 << 20), row.get("spreadPercent"), row.get("whyNotRun") or "")


def sizes(work: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"\b(\w+)=(\d+)", work)}


def flops(work: str) -> float | None:
    """As papers on attention and on cut cross-entropy count them; half for causal attention. None where memory is the limit."""
    size = sizes(work)
    if work.startswith(("attention-forward", "attention-backward")):
        count = 4.0 * size.get("b", 1) * size["h"] * size["q"] * size["k"] * size["d"]
        return count * (0.5 if " causal" in work else 1.0) * (2.5 if "backward" in work else 1.0)
    if work.startswith("cross-entropy"):
        return (2.0 if "forward" in work else 6.0) * size["n"] * size["v"] * size["d"]
    if work.startswith("matmul"):
        return 2.0 * int(work.split()[-1]) ** 3
    return None


def moved_bytes(work: str) -> float | None:
    """What decoding must read and write at the least."""
    if not work.startswith("attention-decode"):
        return None
    size = sizes(work)
    heads = size["h"]
    return 4.0 * size.get("b", 1) * (size.get("kv", heads) * size["k"] + heads) * size["d"]


def format_number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def table(work: str, entries: list[Entry], roof_tflops: float | None, roof_gbytes: float | None) -> list[str]:
    peers = [e for e in entries if not e.is_ours and e.ms]
    best = min(peers, key=lambda e: e.ms, default=None)
    flash = next((e for e in peers if e.name == "sdpa-flash"), None)
    lines = [f"### {work}", "", "| program | ms | spread | rate | % of roof | x FlashAttention-2 | x best of PyTorch | extra MiB | |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"]
    for entry in sorted(entries, key=lambda e: (not e.is_ours, e.ms or float("inf"))):
        if not entry.ms:
            lines.append(f"| {entry.name} | | | | | | | | {entry.note} |")
            continue
        rate, roof, unit = None, None, ""
        if count := flops(work):
            rate, roof, unit = count / entry.ms / 1e9, roof_tflops, " TFLOP/s"
        elif count := moved_bytes(work):
            rate, roof, unit = count / entry.ms / 1e6, roof_gbytes, " GB/s"
        cells = [
            f"**{entry.name}**" if entry.is_ours else entry.name, format_number(entry.ms, 3),
            "" if entry.spread_percent is None else f"{entry.spread_percent:.0f} %",
            format_number(rate) + unit if rate else "", format_number(100 * rate / roof, 0) if rate and roof else "",
            format_number(flash and flash.ms / entry.ms, 2), format_number(best and best.ms / entry.ms, 2),
            format_number(entry.extra_mib), entry.note]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def filtered(entries: list[Entry]) -> Iterator[Entry]:
    """A training step in two calls, of which the second leaves out what a filter says, beside the step in one."""
    for backward in entries:
        if not (backward.is_ours and backward.ms and backward.work.startswith("cross-entropy-backward ") and " filter=" in backward.work):
            continue
        problem = re.sub(r" filter=\S+", "", backward.work.removeprefix("cross-entropy-backward "))
        forward = next((e for e in entries if e.is_ours and e.ms and e.work == f"cross-entropy-forward {problem}" and e.name == backward.name), None)
        if forward:
            extra = max(forward.extra_mib or 0, backward.extra_mib or 0)
            yield Entry(f"cross-entropy-training {problem}", f"{backward.name}, filtered", True, forward.ms + backward.ms, extra, None,
                        f"forward, then backward with {re.search(r'filter=([^ ]+)', backward.work)[0]}")


def sections(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The parts of a log: each begins with a line '== name'."""
    if path.exists():
        for part in re.split(r"^== ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            name, *lines = part.splitlines()
            yield name, lines


def verified(path: Path) -> list[str]:
    """What each kernel's results were worth beside the double-precision reference."""
    pattern = re.compile(r"(\d+) right, (\d+) wrong, (\d+) not compiled, (\d+) failed, (\d+) skipped(?:; worst error (\S+))?")
    rows = []
    for name, lines in sections(path):
        for match in filter(None, map(pattern.match, lines)):
            rows.append((name.replace(".", "/", 1), match.groups("")))
    if not rows:
        return []
    total = [sum(int(values[i]) for _, values in rows) for i in range(5)]
    return ["## Against the reference", "",
            "{} kernels: {} right, {} wrong, {} not compiled, {} failed, {} skipped.".format(len(rows), *total), "",
            "| kernel | right | wrong | not compiled | failed | skipped | worst error, of what is allowed |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(f"| {name} | {' | '.join(values)} |" for name, values in rows), ""]


def sanitized(path: Path) -> list[str]:
    """What compute-sanitizer found."""
    rows = []
    for name, lines in sections(path):
        tool, kernel = name.split(".", 1)
        found = next((line.split("SUMMARY: ")[1] for line in lines if "SUMMARY: " in line), "stopped")
        count = next((m[1] for line in lines if (m := re.match(r"(\d+) right, ", line))), "")
        rows.append(f"| {tool} | {kernel.replace('.', '/', 1)} | {count} | {found} |")
    return ["## compute-sanitizer", "", "| tool | kernel | right | found |", "| --- | --- | ---: | --- |", *rows, ""] if rows else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder

    peers, ours = list(read_peers(folder / "peers.jsonl")), list(read_ours(folder / "bench.jsonl"))
    entries = peers + [e for e in ours if e.ms or "a kernel of their own" not in e.note]
    entries += filtered(entries)
    about = next((row["about"] for row in read_lines(folder / "peers.jsonl") if "about" in row), {})
    matmul = next((flops(e.work) / e.ms / 1e9 for e in peers if e.work.startswith("matmul") and e.ms), None)
    copy = next((row["gbytes_per_s"] for row in read_lines(folder / "peers.jsonl") if row.get("work") == "copy" and row.get("gbytes_per_s")), None)

    lines = ["# On a GPU, beside PyTorch", ""]
    if (path := folder / "about.txt").exists():
        lines += [*(f"- {line.strip()}" for line in path.read_text(encoding="utf-8").splitlines() if line.strip())]
    if about:
        lines.append("- " + ", ".join(f"{key} {value}" for key, value in about.items()))
    if matmul or copy:
        lines.append(f"- roof: {format_number(matmul)} TFLOP/s (bf16 matrix product of cuBLAS), {format_number(copy)} GB/s (copy, bytes read and written)")
    lines += ["", "Medians of device times with inputs larger than the L2 cache. Ratios are PyTorch's time over the row's: more than 1 is faster.",
              "Attention counts 4 b h q k d operations, half of it causal, 2.5 times as many backward; cross-entropy with gradients 6 n v d.",
              "Extra memory is what a run takes beyond its inputs and results.", ""]
    works = list(dict.fromkeys(e.work for e in entries if not e.work.startswith(("copy", "matmul"))))
    for work in works:
        lines += table(work, [e for e in entries if e.work == work], matmul, copy)
    lines += verified(folder / "verify.log") + sanitized(folder / "sanitize.log")
    report = folder / "report.md"
    report.write_text("\n".join(lines), encoding="utf-8")
    print(f"{report}: {len(works)} pieces of work, {len(entries)} rows")


if __name__ == "__main__":
    main()
