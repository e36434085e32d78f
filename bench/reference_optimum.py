#!/usr/bin/env python3
"""Reference optimum of L2-regularised logistic or softmax regression.

Minimises, with SciPy's L-BFGS in double precision,

    F(w, b) = mean log-loss(w, b) + (l2 / 2) * |w|^2        (b not regularised)

over all rows of a LIBSVM file or of an IDX image/label pair, and prints one
JSON object with F*, so that a training run can be judged by its gap
(F - F*) / F*. Needs python3-numpy and python3-scipy.

Examples:
  reference_optimum.py a9a.gz --l2 1e-5
  reference_optimum.py a9a.gz --l2 1e-5 --no-bias --scale none
  reference_optimum.py train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz
  reference_optimum.py a9a.gz --l2 1e-5 --model optimum.npz

The JSON fields: objective (F*), mean_loss, l2, rows, features, and task,
classes, bias, scale, gradient_norm, gap_bound, iterations. gap_bound is
|gradient|^2 / (2 l2), which by strong convexity is an upper limit of F - F*
without a bias and a close estimate of it with one.
"""
import argparse
import gzip
import json
import sys

import numpy as np
import scipy.optimize
import scipy.sparse as sp


def open_binary(path):
    """Open a plain or gzip file for reading bytes, judged by its first bytes."""
    f = open(path, "rb")
    magic = f.read(2)
    f.seek(0)
    return gzip.GzipFile(fileobj=f) if magic == b"\x1f\x8b" else f


def read_libsvm(path, index_base="auto", features=None):
    """Return (CSR matrix of doubles, array of raw labels)."""
    labels, columns, values, starts = [], [], [], [0]
    with open_binary(path) as f:
        for number, line in enumerate(f, 1):
            fields = line.split(b"#", 1)[0].split()
            if not fields:
                continue
            try:
                labels.append(float(fields[0]))
                for field in fields[1:]:
                    column, value = field.split(b":")
                    if column == b"qid":
                        continue
                    columns.append(int(column))
                    values.append(float(value))
            except ValueError:
                sys.exit(f"{path}:{number}: not a LIBSVM line")
            starts.append(len(columns))
    if not labels:
        sys.exit(f"{path}: no rows")
    columns = np.array(columns, dtype=np.int64)
    if index_base == "auto":
        base = 0 if columns.size and columns.min() == 0 else 1
    else:
        base = int(index_base)
    columns -= base
    if columns.size and columns.min() < 0:
        sys.exit(f"{path}: index below {base}")
    width = features or (int(columns.max()) + 1 if columns.size else 0)
    x = sp.csr_matrix((np.array(values), columns, np.array(starts)),
                      shape=(len(labels), width))
    x.sum_duplicates()
    return x, np.array(labels)


def read_idx(path):
    """Return the array of unsigned bytes held by an IDX file."""
    with open_binary(path) as f:
        data = f.read()
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        sys.exit(f"{path}: not an IDX file of unsigned bytes")
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, 4).astype(int)
    body = np.frombuffer(data, np.uint8, offset=4 + 4 * rank)
    if body.size != shape.prod():
        sys.exit(f"{path}: {body.size} values, {shape.prod()} expected")
    return body.reshape(shape)


def max_abs(x):
    """Per-column divisors: the largest absolute value, 1 for an empty column."""
    largest = abs(x).max(axis=0)
    largest = (largest.toarray() if sp.issparse(largest) else largest).ravel()
    return np.where(largest > 0, largest, 1.0)


class Problem:
    """The objective and its gradient; parameters are (features [+ 1]) x outputs."""

    def __init__(self, x, y, classes, l2, bias=True):
        self.x, self.l2, self.bias, self.classes = x, l2, bias, classes
        self.xt = x.T.tocsr() if sp.issparse(x) else x.T
        self.rows, self.features = x.shape
        self.outputs = 1 if classes == 2 else classes
        self.y = y
        self.size = (self.features + bias) * self.outputs

    def split(self, theta):
        theta = theta.reshape(-1, self.outputs)
        return theta[:self.features], theta[self.features] if self.bias else 0.0

    def loss(self, theta):
        """Mean loss, and its derivative by each row's scores."""
        w, b = self.split(theta)
        s = self.x @ w + b
        if self.outputs == 1:
            s = s[:, 0]
            loss = np.mean(np.logaddexp(0, s) - self.y * s)
            p = np.exp(-np.logaddexp(0, -s))
            return loss, ((p - self.y) / self.rows)[:, None]
        s -= s.max(axis=1, keepdims=True)
        p = np.exp(s)
        total = p.sum(axis=1, keepdims=True)
        at = (np.arange(self.rows), self.y)
        loss = np.mean(np.log(total[:, 0]) - s[at])
        p /= total
        p[at] -= 1
        return loss, p / self.rows

    def __call__(self, theta):
        loss, d = self.loss(theta)
        w, _ = self.split(theta)
        grad = self.xt @ d + self.l2 * w
        if self.bias:
            grad = np.vstack([grad, d.sum(axis=0, keepdims=True)])
        return loss + 0.5 * self.l2 * np.sum(w * w), grad.ravel()


def solve(problem, max_iterations=20000, tolerance=1e-10):
    """Return (theta, iterations); restarts L-BFGS while that still helps."""
    theta, iterations, best = np.zeros(problem.size), 0, np.inf
    while iterations < max_iterations:
        r = scipy.optimize.minimize(
            problem, theta, jac=True, method="L-BFGS-B",
            options=dict(maxiter=max_iterations - iterations,
                         maxfun=10 * max_iterations, maxcor=50,
                         ftol=0.0, gtol=tolerance))
        theta = r.x
        iterations += r.nit
        norm = np.abs(r.jac).max()
        if norm <= tolerance or norm >= 0.5 * best:
            break
        best = norm
    return theta, iterations


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data", help="LIBSVM file, or IDX images if --labels is given; "
                                "plain or gzip")
    p.add_argument("--labels", metavar="FILE", help="IDX labels of the IDX images")
    p.add_argument("--l2", type=float, default=1e-5, help="default 1e-5")
    p.add_argument("--scale", choices=["auto", "maxabs", "255", "none"], default="auto",
                   help="divide each column by its largest absolute value (maxabs) or "
                        "everything by 255; auto: maxabs for LIBSVM, 255 for IDX")
    p.add_argument("--no-bias", action="store_true",
                   help="no bias term, as liblinear-train without -B")
    p.add_argument("--task", choices=["auto", "logistic", "softmax"], default="auto",
                   help="auto: logistic for two distinct labels, else softmax")
    p.add_argument("--index-base", choices=["auto", "0", "1"], default="auto",
                   help="lowest LIBSVM index; auto: 0 if index 0 occurs, else 1")
    p.add_argument("--features", type=int, help="number of columns, if more than occur")
    p.add_argument("--max-iterations", type=int, default=20000)
    p.add_argument("--tolerance", type=float, default=1e-10,
                   help="largest gradient component at the end (default 1e-10)")
    p.add_argument("--model", metavar="FILE.npz",
                   help="write w (features x outputs, of the scaled columns), b, "
                        "divisors and labels")
    a = p.parse_args()

    if a.labels:
        images = read_idx(a.data)
        x = images.reshape(len(images), -1).astype(np.float64)
        raw = read_idx(a.labels).astype(float)
        if len(raw) != len(x):
            p.error("images and labels differ in number")
    else:
        x, raw = read_libsvm(a.data, a.index_base, a.features)

    scale = a.scale if a.scale != "auto" else ("255" if a.labels else "maxabs")
    if scale == "maxabs":
        divisors = max_abs(x)
    else:
        divisors = np.full(x.shape[1], 255.0 if scale == "255" else 1.0)
    x = x @ sp.diags(1 / divisors) if sp.issparse(x) else x / divisors

    names, y = np.unique(raw, return_inverse=True)
    if len(names) < 2:
        p.error("only one label value")
    if a.task == "logistic" and len(names) != 2:
        p.error(f"logistic needs two label values, found {len(names)}")
    classes = len(names)
    if a.task == "softmax" and classes == 2:
        p.error("softmax of two classes: use logistic")

    problem = Problem(x, y, classes, a.l2, not a.no_bias)
    theta, iterations = solve(problem, a.max_iterations, a.tolerance)
    objective, grad = problem(theta)
    loss, _ = problem.loss(theta)
    norm = float(np.linalg.norm(grad))
    json.dump({
        "objective": float(objective), "mean_loss": float(loss), "l2": a.l2,
        "rows": problem.rows, "features": problem.features,
        "task": "logistic" if problem.outputs == 1 else "softmax",
        "classes": classes, "bias": not a.no_bias, "scale": scale,
        "gradient_norm": norm,
        "gap_bound": norm ** 2 / (2 * a.l2) if a.l2 > 0 else None,
        "iterations": int(iterations)}, sys.stdout, indent=2)
    print()
    if a.model:
        w, b = problem.split(theta)
        np.savez(a.model, w=w, b=np.zeros(problem.outputs) + b,
                 divisors=divisors, labels=names)


if __name__ == "__main__":
    main()
