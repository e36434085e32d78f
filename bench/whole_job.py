#!/usr/bin/env python3
"""Whole-program figures of the single engine, on synthetic click data (CTR: 39 binary features a row, 2^20 columns).

Measures, each `--repeats` times (median and range are printed):
  import   LIBSVM text -> blocks: MB/s of text, peak memory at `--rows` and at a tenth of them
  train    one epoch of AdaGrad at a given learning rate, from imported blocks to the model file: rows/s of the whole
           process (start, evaluation and writing included) and of the training rounds alone; validation log-loss
  quality  the same with the learning rate searched: validation log-loss beside the planted model's own
Prints a table, or with --json one JSON document. Files go to --folder and stay there for the next call.

Example: bench/whole_job.py --virga build/release/bin/virga --folder /tmp/virga-bench
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time


def run(command, **options):
    """Run to the end; return (seconds, peak resident bytes of this child, stdout)."""
    read_end, write_end = os.pipe()
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        os.dup2(write_end, 1)
        os.execvpe(command[0], command, {**os.environ, **options.get("env", {})})
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        output = pipe.read()
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - started
    if status != 0:
        sys.exit(f"failed with status {status}: {' '.join(command)}")
    return seconds, usage.ru_maxrss * 1024, output


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--virga", default="build/release/bin/virga")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where the data is made and kept")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--learning-rate", default="0.5")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    env = {"VIRGA_HOME": str(a.folder / "home")}
    result = {"rows": a.rows, "cores": os.cpu_count()}

    def virga(*arguments):
        return run([a.virga, *map(str, arguments)], env=env)

    imports = {}
    for rows in (a.rows // 10, a.rows):
        text = a.folder / f"ctr-{rows}.libsvm"
        if not text.exists():
            virga("generate", "ctr", "--to", text, "--rows", rows, "--progress", "none")
        target = a.folder / f"ctr-{rows}"
        rates, peaks = [], []
        for _ in range(a.repeats):
            shutil.rmtree(target, ignore_errors=True)
            seconds, peak, _ = virga("import", text, "--to", target, "--progress", "none", "-q")
            rates.append(text.stat().st_size / 1e6 / seconds)
            peaks.append(peak / 2**20)
        imports[rows] = {"mb_per_second": spread(rates), "peak_mib": max(peaks), "text_mb": text.stat().st_size / 1e6}
    result["import"] = imports

    data = a.folder / f"ctr-{a.rows}"
    train_rows = json.loads(virga("inspect", data, "--json")[2])["train"]["rows"]
    whole, rounds, losses = [], [], []
    for _ in range(a.repeats):
        seconds, peak, output = virga("train", data, "--engine", "single", "--epochs", 1, "--learning-rate", a.learning_rate, "--progress",
                                      "none", "--out", a.folder / "model.safetensors", "--json")
        report = json.loads(output)
        whole.append(train_rows / seconds)
        rounds.append(train_rows / report["training_seconds"])
        losses.append(report["validation_loss"])
    result["train"] = {"train_rows": train_rows, "rows_per_second": spread(whole), "rounds_rows_per_second": spread(rounds),
                       "validation_loss": losses[0], "bits_equal": len(set(losses)) == 1, "peak_mib": peak / 2**20}
    _, _, output = virga("train", data, "--engine", "single", "--epochs", 1, "--progress", "none", "--out", a.folder / "model.safetensors", "--json")
    report = json.loads(output)
    result["quality"] = {"validation_loss": report["validation_loss"], "learning_rate": report["learning_rate"]}

    if a.json:
        json.dump(result, sys.stdout, indent=2)
        print()
        return
    for rows, figures in imports.items():
        rate = figures["mb_per_second"]
        print(f"import {rows:>10,} rows, {figures['text_mb']:.0f} MB: {rate['median']:.0f} MB/s "
              f"({rate['min']:.0f}-{rate['max']:.0f}), peak {figures['peak_mib']:.0f} MiB")
    for name, what in (("rows_per_second", "whole process"), ("rounds_rows_per_second", "rounds alone")):
        rate = result["train"][name]
        print(f"train, one epoch, {what}: {rate['median'] / 1e6:.2f} M rows/s "
              f"({rate['min'] / 1e6:.2f}-{rate['max'] / 1e6:.2f})")
    print(f"validation log-loss {result['train']['validation_loss']:.4f} at rate {a.learning_rate}, "
          f"{result['quality']['validation_loss']:.4f} at the searched rate {result['quality']['learning_rate']:g}")


if __name__ == "__main__":
    main()
