#!/usr/bin/python3
"""An iteration of k-means and of Gaussian mixtures on one core: Virga's kernels and scikit-learn's, in turn, on rows of the same shape.

    bench/kmeans.py BUILD/bin/kmeans_bench [--repeats 5] [--model kmeans|diagonal|full]

Both are bound to one core, and scikit-learn has one thread; times are of the processor, so that others on the machine count less.
scikit-learn's is that of 11 iterations (of mixtures: 3) from given centres less that of 1, so that what it does once (checks,
centring, a copy) does not count. Prints medians and ranges in milliseconds.
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
from sklearn.mixture import GaussianMixture  # noqa: E402

ROWS, COLUMNS, CLUSTERS = 1_000_000, 28, 10
VARIANCE = 0.09  # of a mixture's components, to start from
SHAPES = {"kmeans": f"BM_LloydDense/rows:{ROWS}/columns:{COLUMNS}/clusters:{CLUSTERS}",
          "diagonal": f"BM_MixtureDense/rows:{ROWS}/columns:{COLUMNS}/components:{CLUSTERS}/full:0",
          "full": f"BM_MixtureDense/rows:{ROWS}/columns:{COLUMNS}/components:{CLUSTERS}/full:1"}


def virga(program, model):
    out = subprocess.run([program, f"--benchmark_filter={SHAPES[model]}", "--benchmark_format=json"],
                         check=True, capture_output=True).stdout
    return json.loads(out)["benchmarks"][0]["cpu_time"]


def kmeans(x, iterations):
    return KMeans(CLUSTERS, init=x[:CLUSTERS], n_init=1, max_iter=iterations, tol=0, algorithm="lloyd").fit(x)


def mixture(x, iterations, covariance):
    precisions = np.full((CLUSTERS, COLUMNS), 1 / VARIANCE)
    if covariance == "full":
        precisions = np.stack([np.eye(COLUMNS) / VARIANCE] * CLUSTERS)
    return GaussianMixture(CLUSTERS, covariance_type=covariance, means_init=x[:CLUSTERS], precisions_init=precisions,
                           weights_init=np.full(CLUSTERS, 1 / CLUSTERS), init_params="random", max_iter=iterations, tol=0).fit(x)


def sklearn(x, model):
    def fit(iterations):
        began = time.process_time()
        kmeans(x, iterations) if model == "kmeans" else mixture(x, iterations, {"diagonal": "diag", "full": "full"}[model])
        return time.process_time() - began
    most = 11 if model == "kmeans" else 3
    return (fit(most) - fit(1)) / (most - 1) * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--model", choices=SHAPES, default="kmeans")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    x = np.random.default_rng(1).random((ROWS, COLUMNS), dtype=np.float32)
    times = {"virga": [], "scikit-learn": []}
    for _ in range(arguments.repeats):
        times["virga"].append(virga(arguments.program, arguments.model))
        times["scikit-learn"].append(sklearn(x, arguments.model))
    for name, values in times.items():
        print(f"{name:<13} {statistics.median(values):6.1f} ms an iteration ({min(values):.1f} to {max(values):.1f})")


main()
