"""What scikit-learn says of the rows in a JSON file, for metrics_slow_test.cc.

Reads [{"kind", "scores" (a list of numbers, or of lists), "labels", "weights"}, ...]; prints a list of {metric: value}.
"""
import json
import sys

import numpy as np
from sklearn import metrics
from sklearn.calibration import calibration_curve


def calibration(y, p):
    """Without weights: scikit-learn's has none."""
    observed, predicted = calibration_curve(y, p, n_bins=10, strategy="uniform")
    return {"observed": observed.tolist(), "predicted": predicted.tolist()}


def binary(y, z, w):
    p = 1 / (1 + np.exp(-z))
    signed = 2 * y - 1
    return {
        "log_loss": metrics.log_loss(y, p, sample_weight=w),
        "base_log_loss": metrics.log_loss(y, np.full(len(y), np.average(y, weights=w)), sample_weight=w),
        "hinge_loss": metrics.hinge_loss(signed, z, sample_weight=w),
        "auc": metrics.roc_auc_score(y, z, sample_weight=w),
        "average_precision": metrics.average_precision_score(y, z, sample_weight=w),
        "calibration": calibration(y, p),
        **classification(y, (z > 0).astype(int), w),
    }


def multiclass(y, z, w):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    return {
        "log_loss": metrics.log_loss(y, p, sample_weight=w, labels=range(z.shape[1])),
        **classification(y, z.argmax(axis=1), w),
    }


def classification(y, predicted, w):
    precision, recall, f1, support = metrics.precision_recall_fscore_support(y, predicted, sample_weight=w, zero_division=0)
    return {
        "accuracy": metrics.accuracy_score(y, predicted, sample_weight=w),
        "macro_f1": metrics.f1_score(y, predicted, average="macro", sample_weight=w, zero_division=0),
        "precision": precision.tolist(), "recall": recall.tolist(), "f1": f1.tolist(), "support": support.tolist(),
        "matrix": metrics.confusion_matrix(y, predicted, sample_weight=w).ravel().tolist(),
    }


def regression(y, z, w):
    return {
        "rmse": metrics.mean_squared_error(y, z, sample_weight=w) ** 0.5,
        "mae": metrics.mean_absolute_error(y, z, sample_weight=w),
        "r2": metrics.r2_score(y, z, sample_weight=w),
    }


with open(sys.argv[1]) as file:
    cases = json.load(file)
results = []
for case in cases:
    arrays = [np.array(case[name], dtype=np.float64) for name in ("labels", "scores", "weights")]
    if case["kind"] != "regression":
        arrays[0] = arrays[0].astype(int)
    results.append(globals()[case["kind"]](*arrays))
print(json.dumps(results))
