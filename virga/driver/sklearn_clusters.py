"""Lloyd's algorithm and Gaussian mixtures by scikit-learn, for clusters_slow_test.cc.

Reads [{"features", "sparse", "rows" (a list of [feature, value] lists), "start" (centres or means), "epochs"}, ...], of mixtures with
"covariance" ("diag" or "full"), "variances" or "covariances" and "mixing" to start from, and "reg_covar"; prints a list of
{"centres", "loss": the mean squared distance to them, or the mean of -log p}, of mixtures with "covariances" and "mixing".
"""
import json
import sys
import warnings

import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture


def lloyd(case, rows):
    start = np.array(case["start"])
    x = sparse.csr_matrix(rows) if case["sparse"] else rows
    model = KMeans(len(start), init=start, n_init=1, max_iter=case["epochs"], tol=0, algorithm="lloyd").fit(x)
    return {"centres": model.cluster_centers_.tolist(), "loss": model.inertia_ / len(rows)}


def mixture(case, rows):
    covariances = np.array(case["covariances"])
    full = case["covariance"] == "full"
    model = GaussianMixture(len(case["start"]), covariance_type=case["covariance"], tol=0, reg_covar=case["reg_covar"],
                            max_iter=case["epochs"], init_params="random", random_state=1, weights_init=normalised(case["mixing"]),
                            means_init=np.array(case["start"]),
                            precisions_init=np.linalg.inv(covariances) if full else 1 / covariances).fit(rows)
    return {"centres": model.means_.tolist(), "loss": -model.score(rows), "covariances": model.covariances_.tolist(),
            "mixing": model.weights_.tolist()}


def normalised(mixing):
    return np.array(mixing) / sum(mixing)


def answer(case):
    rows = np.zeros((len(case["rows"]), case["features"]))
    for i, entries in enumerate(case["rows"]):
        for feature, value in entries:
            rows[i, feature] = value
    return mixture(case, rows) if "covariance" in case else lloyd(case, rows)


warnings.simplefilter("ignore")  # that an iteration has not converged
print(json.dumps([answer(case) for case in json.load(open(sys.argv[1]))]))
