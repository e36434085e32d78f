#!/usr/bin/env python3
"""How near the default settings come to the optimum, on real data.

For each set below the folder VIRGA_EVAL_DATA (or --data): trains with l2 = 1e-5 on all rows (no validation split),
20 epochs, everything else at its default, and compares the training objective

    F = mean log-loss + (l2 / 2) |w|^2          (bias not regularised)

of the model file with F*, found by SciPy's L-BFGS (bench/reference_optimum.py). Prints a table, or --json.
Fashion-MNIST (Debian's dataset-fashion-mnist) is trained at defaults and judged by its test accuracy.

Example: VIRGA_EVAL_DATA=~/data bench/optimum_gap.py --virga build/release/bin/virga
"""
import argparse
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import reference_optimum as reference  # noqa: E402

SETS = {"a9a": "a9a/a9a.gz", "w8a": "w8a/w8a.gz", "frappe": "frappe/frappe.validation.libfm.gz",
        "reuters earn": "reuters21578/earn.train.libsvm.gz"}
FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")
L2 = 1e-5


def tensors(path):
    """The float tensors of a safetensors file, by name."""
    data = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[8 + length:][slice(*info["data_offsets"])], "<f4").reshape(info["shape"])
            for name, info in header.items() if info["dtype"] == "F32"}


def train(virga, data, out, home, *flags):
    command = [virga, "train", str(data), "--out", str(out), "-q", "--json", "--engine", "single", *flags]
    done = subprocess.run(command, env={**os.environ, "VIRGA_HOME": str(home)}, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def gap(virga, path, seed, folder):
    x, labels = reference.read_libsvm(str(path))
    x = x @ reference.sp.diags(1 / reference.max_abs(x))
    y = (labels == labels.max()).astype(float)
    problem = reference.Problem(x, y, 2, L2)
    best = problem(reference.solve(problem)[0])[0]
    gaps = []
    for s in seed:
        train(virga, path, folder / "model.safetensors", folder / "home", "--l2", str(L2), "--validation-fraction", "0",
              "--seed", str(s))
        model = tensors(folder / "model.safetensors")
        w = np.zeros(problem.features)
        w[:len(model["weights"])] = model["weights"].ravel()[:problem.features]
        theta = np.concatenate([w, model["bias"].ravel().astype(float)])
        gaps.append((problem(theta)[0] - best) / best)
    return best, gaps


def write_libsvm(path, x, labels):
    with open(path, "w") as f:
        for i in range(x.shape[0]):
            row = slice(x.indptr[i], x.indptr[i + 1])
            f.write(f"{labels[i]:g} " + " ".join(f"{c + 1}:{v:.9g}" for c, v in zip(x.indices[row], x.data[row])) + "\n")


def tuned_gap(virga, path, seed, folder):
    """Validation log-loss of a run without flags, and the best of L-BFGS over l2, on the same 90/10 split."""
    x, labels = reference.read_libsvm(str(path))
    x.sort_indices()
    held_out = np.random.default_rng(seed).random(x.shape[0]) < 0.1
    for name, rows in (("train", ~held_out), ("validation", held_out)):
        write_libsvm(folder / f"{name}.libsvm", x[rows], labels[rows])
    report = train(virga, folder / "train.libsvm", folder / "model.safetensors", folder / "home", "--validation",
                   str(folder / "validation.libsvm"), "--seed", str(seed))
    scale = reference.sp.diags(1 / reference.max_abs(x[~held_out]))
    y = (labels == labels.max()).astype(float)
    judge = reference.Problem(x[held_out] @ scale, y[held_out], 2, 0)
    losses = {}
    for l2 in 10 ** np.arange(-6, -2.4, 0.5):
        problem = reference.Problem(x[~held_out] @ scale, y[~held_out], 2, l2)
        losses[f"{l2:.2g}"] = float(judge.loss(reference.solve(problem, tolerance=1e-7)[0])[0])
    best = min(losses.values())
    return {"default": report["validation_loss"], "tuned": best, "ratio": report["validation_loss"] / best}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--virga", default="build/release/bin/virga")
    parser.add_argument("--data", default=os.environ.get("VIRGA_EVAL_DATA"), help="folder with the sets")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tuned", action="store_true",
                        help="also the validation loss without flags against L-BFGS tuned over l2, on 90/10 splits")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    if not a.data:
        print("neither VIRGA_EVAL_DATA nor --data names a folder: only Fashion-MNIST is measured", file=sys.stderr)
    result = {"l2": L2, "sets": {}}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, file in SETS.items() if a.data else ():
            best, gaps = gap(a.virga, pathlib.Path(a.data) / file, range(1, a.seeds + 1), folder)
            result["sets"][name] = {"optimum": best, "gaps": gaps}
            if not a.json:
                print(f"{name:14} F* {best:.10f}  gap " + "  ".join(f"{100 * g:.3f} %" for g in gaps), flush=True)
        for name, file in SETS.items() if a.data and a.tuned else ():
            runs = [tuned_gap(a.virga, pathlib.Path(a.data) / file, s, folder) for s in range(1, a.seeds + 1)]
            result["sets"][name]["validation"] = runs
            if not a.json:
                print(f"{name:14} validation, default against tuned  " +
                      "  ".join(f"{r['default']:.5f} / {r['tuned']:.5f} = {r['ratio']:.4f}" for r in runs), flush=True)
        if FASHION.is_dir():
            report = train(a.virga, FASHION / "train-images-idx3-ubyte.gz", folder / "fashion.safetensors", folder / "home")
            done = subprocess.run([a.virga, "evaluate", str(folder / "fashion.safetensors"),
                                   str(FASHION / "t10k-images-idx3-ubyte.gz"), "--json"], stdout=subprocess.PIPE, check=True)
            accuracy = json.loads(done.stdout)["accuracy"]
            result["fashion"] = {"validation_loss": report["validation_loss"], "test_accuracy": accuracy}
            if not a.json:
                print(f"Fashion-MNIST  validation loss {report['validation_loss']:.4f}  test accuracy {accuracy:.4f}")
    if a.json:
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
