#!/usr/bin/python3
"""An iteration of Lloyd's algorithm on one core: Virga's kernel and scikit-learn's, in turn, on rows of the same shape.

    bench/kmeans.py BUILD/bin/kmeans_bench [--repeats 5]

Both are bound to one core, and scikit-learn has one thread; times are of the processor, so that others on the machine count less.
scikit-learn's is that of 11 iterations from given centres less that of 1, so that what it does once (checks, centring, a copy) does
not count. Prints medians and ranges in milliseconds.
"""
import argparse
import json
import os
import statistics
import subprocess
import time
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
import numpy as np  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402

ROWS, COLUMNS, CLUSTERS = 1_000_000, 28, 10


def virga(program):
    out = subprocess.run([program, f"--benchmark_filter=rows:{ROWS}/columns:{COLUMNS}/clusters:{CLUSTERS}", "--benchmark_format=json"],
                         check=True, capture_output=True).stdout
    return json.loads(out)["benchmarks"][0]["cpu_time"]


def sklearn(x):
    def fit(iterations):
        began = time.process_time()
        KMeans(CLUSTERS, init=x[:CLUSTERS], n_init=1, max_iter=iterations, tol=0, algorithm="lloyd").fit(x)
        return time.process_time() - began
    return (fit(11) - fit(1)) * 100


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    x = np.random.default_rng(1).random((ROWS, COLUMNS), dtype=np.float32)
    times = {"virga": [], "scikit-learn": []}
    for _ in range(arguments.repeats):
        times["virga"].append(virga(arguments.program))
        times["scikit-learn"].append(sklearn(x))
    for name, values in times.items():
        print(f"{name:<13} {statistics.median(values):6.1f} ms an iteration ({min(values):.1f} to {max(values):.1f})")


main()
