#!/usr/bin/env python3
"""Logistic regression on click data on one core: Virga's kernels, a hand-written limit, and scikit-learn, in one run.

Makes the data in --folder on the first call (`virga generate ctr`, LIBSVM text, and its imported set), then runs, in turns:
  ctr_kernel_bench          a rank's whole step (mini-batch 1,000: keys merged, gradient, update) from rows in memory and from
                            the object store; the limit: gather, sigmoid, scatter by AVX-512, written by hand
  sklearn SGDClassifier     partial_fit, log loss, one pass over a CSR matrix in memory, constant learning rate
Prints median, range and ratios in million rows a second, or --json.

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


def ours(program, data, repeats):
    """Million rows a second of each benchmark, one figure a repetition."""
    output = subprocess.run([program, "--benchmark_format=json", f"--benchmark_repetitions={repeats}",
                             "--benchmark_enable_random_interleaving=true", "--benchmark_min_time=0.3"],
                            env={**os.environ, "VIRGA_BENCH_SET": str(data)}, check=True, capture_output=True, text=True)
    found = {}
    for run in json.loads(output.stdout)["benchmarks"]:
        if run["run_type"] == "iteration" and not run.get("error_occurred"):
            found.setdefault(run["run_name"].removeprefix("BM_"), []).append(run["items_per_second"] / 1e6)
    return found


def scikit_learn(text, repeats):
    import numpy
    from sklearn.datasets import load_svmlight_file
    from sklearn.linear_model import SGDClassifier
    x, y = load_svmlight_file(str(text), n_features=1 << 20, zero_based=False)
    rates = []
    for _ in range(repeats):
        model = SGDClassifier(loss="log_loss", alpha=1e-9, learning_rate="constant", eta0=0.01, shuffle=False)
        started = time.perf_counter()
        model.partial_fit(x, y, classes=numpy.unique(y))
        rates.append(x.shape[0] / 1e6 / (time.perf_counter() - started))
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

    rates = ours(str(a.bin / "ctr_kernel_bench"), data, a.repeats)
    rates["scikit-learn SGDClassifier"] = scikit_learn(text, a.repeats)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    if a.json:
        return json.dump({"million_rows_per_second": rates}, sys.stdout)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; million rows/s on one core, median (range)")
    for name, values in rates.items():
        line = f"{name:<28} {medians[name]:6.2f} ({min(values):.2f}-{max(values):.2f})"
        for other in ("HandWrittenLimit", "scikit-learn SGDClassifier"):
            if other in medians and other != name:
                line += f"   {medians[name] / medians[other]:5.2f} x {other}"
        print(line)


if __name__ == "__main__":
    main()
