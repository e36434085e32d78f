#!/usr/bin/env python3
"""Peak resident memory of functions on data sets of ten times (and of once) their limit.

Trains with `--engine process` on synthetic sets: dense (28 numbers a row) and ctr (39 of 2^20 binary features a row). The
rows are as many as take `--times` the limit when they are decoded, without labels and dictionaries. Measures, for each kind
and number of workers, the largest peak (VmHWM) that a function of the run reports, workers and evaluations alike, of
`--repeats` runs; the seconds of the training rounds are the fastest run's. Leaves out the driver, which is no function.
Prints a table, or with --json one JSON document. Sets go to --folder and stay there for the next call.

Example: bench/worker_memory.py --virga build/release/bin/virga --folder /tmp/virga-memory
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

ROW_BYTES = {"dense": 28 * 4, "ctr": 39 * 2}  # decoded values, or 16-bit indices


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--virga", default="build/release/bin/virga")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where the data is made and kept")
    parser.add_argument("--memory", type=int, default=128, metavar="MB", help="limit of a function, in millions of bytes")
    parser.add_argument("--times", type=float, nargs="+", default=[1, 10], help="size of the sets, in limits")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "VIRGA_HOME": str(a.folder / "home")}

    def virga(*arguments):
        child = subprocess.run([a.virga, *map(str, arguments)], env=env, capture_output=True, text=True)
        if child.returncode != 0:
            sys.exit(f"failed with status {child.returncode}: virga {' '.join(map(str, arguments))}\n{child.stderr}")
        return child.stdout

    results = []
    for kind, row_bytes in ROW_BYTES.items():
        for times in a.times:
            rows = int(a.memory * 1e6 * times / row_bytes)
            data = a.folder / f"{kind}-{rows}"
            if not (data / "manifest.json").exists():
                virga("generate", kind, "--to", data, "--rows", rows, "--overwrite", "--progress", "none", "-q")
            for workers in a.workers:
                reports = []
                for _ in range(a.repeats):
                    reports.append(json.loads(virga(
                        "train", data, "--engine", "process", "--workers", workers, "--memory", f"{a.memory}MB",
                        "--epochs", a.epochs, "--learning-rate", 0.1, "--batch-size", 4096, "--progress", "none",
                        "--out", a.folder / "model.safetensors", "--json")))
                results.append({"kind": kind, "rows": rows, "decoded_bytes": rows * row_bytes, "workers": workers,
                                "limit_bytes": a.memory * 1_000_000,
                                "peak_bytes": max(r["functions"]["peak_memory_bytes"] for r in reports),
                                "training_seconds": min(r["training_seconds"] for r in reports)})

    if a.json:
        json.dump(results, sys.stdout, indent=2)
        print()
        return
    print(f"{'set':<6}{'rows':>12}{'decoded':>10}{'workers':>9}{'limit':>9}{'peak':>9}{'share':>8}{'rounds':>10}")
    for r in results:
        print(f"{r['kind']:<6}{r['rows']:>12,}{r['decoded_bytes'] / 1e6:>7.0f} MB{r['workers']:>9}"
              f"{r['limit_bytes'] / 1e6:>6.0f} MB{r['peak_bytes'] / 1e6:>6.0f} MB"
              f"{r['peak_bytes'] / r['limit_bytes']:>8.0%}{r['training_seconds']:>8.1f} s")
    if any(r["peak_bytes"] >= r["limit_bytes"] for r in results):
        sys.exit("a function took more than its limit")


if __name__ == "__main__":
    main()
