"""Lloyd's algorithm by scikit-learn, for kmeans_slow_test.cc.

Reads [{"features", "sparse", "rows" (a list of [feature, value] lists), "start" (centres), "epochs"}, ...]; prints a list of
{"centres", "loss": the mean squared distance to them}.
"""
import json
import sys

import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans


def lloyd(case):
    rows = np.zeros((len(case["rows"]), case["features"]))
    for i, entries in enumerate(case["rows"]):
        for feature, value in entries:
            rows[i, feature] = value
    start = np.array(case["start"])
    x = sparse.csr_matrix(rows) if case["sparse"] else rows
    model = KMeans(len(start), init=start, n_init=1, max_iter=case["epochs"], tol=0, algorithm="lloyd").fit(x)
    return {"centres": model.cluster_centers_.tolist(), "loss": model.inertia_ / len(rows)}


print(json.dumps([lloyd(case) for case in json.load(open(sys.argv[1]))]))
