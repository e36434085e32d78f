#!/usr/bin/env python3
"""Logistic regression on click data on one core: Virga's kernels, a hand-written limit, and scikit-learn, in one run.

Makes the data in --folder on the first call (`virga generate ctr`, LIBSVM text, and its imported set), then runs, by turns:
  ctr_kernel_bench          a rank's whole step (mini-batch 1,000: keys, gradient, update) from rows in memory, in whole groups
                            (nothing to merge) and across two groups (keys merged), and from the object store (whole groups);
                            the limit: gather, sigmoid, scatter by AVX-512, written by hand
  sklearn SGDClassifier     partial_fit, log loss, one pass over a CSR matrix in memory, constant learning rate
Prints median and range in million rows a second of wall time, and median and range of the ratios within
a repeat; or --json.

Example: bench/ctr_kernel.py --bin build/release/bin --folder /tmp/virga-ctr
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time


def ours(program, data):
    """Million rows a second of each benchmark, by the clock on the wall."""
    output = subprocess.run([program, "--benchmark_format=json", "--benchmark_min_time=0.3"],
                            env={**os.environ, "VIRGA_BENCH_SET": str(data)}, check=True, capture_output=True, text=True)
    return {run["run_name"].removeprefix("BM_").removesuffix("/real_time"): run["items_per_second"] / 1e6
            for run in json.loads(output.stdout)["benchmarks"] if not run.get("error_occurred")}


def scikit_learn(x, y):
    import numpy
    from sklearn.linear_model import SGDClassifier
    model = SGDClassifier(loss="log_loss", alpha=1e-9, learning_rate="constant", eta0=0.01, shuffle=False)
    started = time.perf_counter()
    model.partial_fit(x, y, classes=numpy.unique(y))
    return x.shape[0] / 1e6 / (time.perf_counter() - started)


def measure(program, text, data, repeats):
    """All of them by turns, one figure a repeat."""
    from sklearn.datasets import load_svmlight_file
    x, y = load_svmlight_file(str(text), n_features=1 << 20, zero_based=False)
    rates = {}
    for _ in range(repeats):
        for name, rate in {**ours(program, data), "scikit-learn SGDClassifier": scikit_learn(x, y)}.items():
            rates.setdefault(name, []).append(rate)
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("build/release/bin"))
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    text, data = a.folder / f"ctr-{a.rows}.libsvm", a.folder / f"ctr-{a.rows}"
    virga = str(a.bin / "virga")
    if not text.exists():
        subprocess.run([virga, "generate", "ctr", "--rows", str(a.rows), "--to", str(text), "-q"], check=True)
    if not (data / "manifest.json").exists():
        subprocess.run([virga, "import", str(text), "--to", str(data), "-q"], check=True)

    rates = measure(str(a.bin / "ctr_kernel_bench"), text, data, a.repeats)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    if a.json:
        return json.dump({"million_rows_per_second": rates}, sys.stdout)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; million rows/s on one core, median (range)")
    for name, values in rates.items():
        line = f"{name:<28} {medians[name]:6.2f} ({min(values):.2f}-{max(values):.2f})"
        for other in ("HandWrittenLimit", "scikit-learn SGDClassifier"):
            if other in medians and other != name:
                ratios = [value / of for value, of in zip(values, rates[other])]
                line += f"   {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) x {other}"
        print(line)


if __name__ == "__main__":
    main()
