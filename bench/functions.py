#!/usr/bin/env python3
"""Training on functions that are processes of this machine: what a round takes, and where its time goes.

Each worker has one core: it is bound to it, threads and all. Where cores are left, the driver with its data store and
the evaluations have those; where none is, they share the workers'. Lines (each --repeats times, by turns; median and
range):
  ctr 1,000        click rows, AdaGrad, 1,000 rows a worker: one worker and two
  ctr 16,384       the same at 16,384 rows a worker
  criteo adam      13 numbers and 26 categories a row, Adam, 6,250 rows a worker, two workers
  dense higgs      200,000 rows of 28 numbers, SGD, 2,000 rows a worker, two workers: an epoch has 50 rounds
  whole job        click rows, batch and all by default, one epoch: --engine single on all cores, and two workers
A round is the time in the training loop, from the first mini-batch to the last; its phases are those that `virga show`
prints. "exchange" is encode, send, wait, decode and sum; "work" is data, read, compute and apply.

Example: bench/functions.py --virga build/release/bin/virga --folder /tmp/virga-functions
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time

EXCHANGE = ("encode", "send", "wait", "decode", "sum")
WORK = ("data", "read", "compute", "apply")


def children_of(pid):
    """Its child processes, with their command lines."""
    try:
        pids = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [(int(p), pathlib.Path(f"/proc/{p}/cmdline").read_text()) for p in pids]
    except OSError:
        return []


def bind(pid, cores):
    """All threads that it has; those that it makes later inherit."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setaffinity(int(thread), cores)
        except OSError:
            pass


def bind_workers(driver, workers, cores, over):
    """Workers to cores 0, 1, ... as they come up, all else to the rest."""
    rest = set(range(workers, cores)) or set(range(cores))
    bound = set()
    while not over.is_set():
        for pid, command in children_of(driver):
            worker = re.search(r"worker-(\d+)-\d+", command)
            if pid in bound or not worker:
                continue
            try:
                bind(pid, {int(worker[1]) % cores})
            except OSError:
                continue
            bound.add(pid)
        try:
            if driver not in bound and rest:
                bind(driver, rest if cores > workers else set(range(min(workers, cores))))
                bound.add(driver)
        except OSError:
            pass
        time.sleep(0.002)


def train(a, data, workers, arguments):
    """One run; its JSON."""
    command = [a.virga, "train", str(data), "--patience", "0", "--progress", "none", "--json", "--out",
               str(a.folder / "model.safetensors"), *arguments]
    engine = ["--engine", "process", "--workers", str(workers)] if workers else ["--engine", "single"]
    run = subprocess.Popen(command + engine, env={**os.environ, "VIRGA_HOME": str(a.folder / "home")},
                           stdout=subprocess.PIPE)
    over = threading.Event()
    binder = threading.Thread(target=bind_workers, args=(run.pid, workers, os.cpu_count(), over))
    if workers and not a.unbound:
        binder.start()
    output = run.communicate()[0]
    over.set()
    if workers and not a.unbound:
        binder.join()
    if run.returncode != 0:
        sys.exit(f"failed with status {run.returncode}: {' '.join(command)}: {output.decode()}")
    return json.loads(output)


def figures(report):
    """Milliseconds a round, of one worker."""
    functions = report["functions"]
    rounds = functions["worker_rounds"]
    phases = {name: 1e3 * seconds / rounds for name, seconds in functions["phase_seconds"].items() if name != "start"}
    return {"round": sum(phases.values()), "work": sum(phases[p] for p in WORK),
            "exchange": sum(phases[p] for p in EXCHANGE), **phases,
            "cpu": 1e3 * functions["cpu_seconds"] / rounds, "put_kb": functions["bytes_put"] / rounds / 1e3,
            "start": 1e3 * functions["phase_seconds"]["start"], "epoch": sum(phases.values()) * report["rounds"] /
            report["epochs"]}


def spread(runs):
    return {name: {"median": statistics.median(run[name] for run in runs), "min": min(run[name] for run in runs),
                   "max": max(run[name] for run in runs)} for name in runs[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--virga", default="build/release/bin/virga")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where the data is made and kept")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--unbound", action="store_true", help="leave it to the system which core does what")
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    sets = {"ctr": ("ctr", 1_000_000, "0"), "ctr-validated": ("ctr", 1_000_000, "0.1"),
            "criteo": ("criteo", 500_000, "0"), "higgs": ("dense", 200_000, "0")}
    for name, (kind, rows, validation) in sets.items():
        if not (a.folder / name / "manifest.json").exists():
            subprocess.run([a.virga, "generate", kind, "--to", str(a.folder / name), "--rows", str(rows),
                            "--validation-fraction", validation, "-q"], check=True)

    adagrad = ["--learning-rate", "0.5", "--epochs", "4"]
    lines = {
        "ctr 1,000, 1 worker": ("ctr", 1, [*adagrad, "--batch-size", "1000"]),
        "ctr 1,000, 2 workers": ("ctr", 2, [*adagrad, "--batch-size", "2000"]),
        "ctr 16,384, 1 worker": ("ctr", 1, [*adagrad, "--batch-size", "16384"]),
        "ctr 16,384, 2 workers": ("ctr", 2, [*adagrad, "--batch-size", "32768"]),
        "criteo adam 6,250, 2 workers": ("criteo", 2, ["--optimizer", "adam", "--learning-rate", "0.003", "--epochs",
                                                       "5", "--batch-size", "12500"]),
        "dense higgs 2,000, 2 workers": ("higgs", 2, ["--optimizer", "sgd", "--learning-rate", "0.3", "--epochs", "20",
                                                      "--batch-size", "4000"]),
    }
    runs = {name: [] for name in lines}
    whole = {"single": [], "2 workers": []}
    for _ in range(a.repeats):
        for name, (data, workers, arguments) in lines.items():
            runs[name].append(figures(train(a, a.folder / data, workers, arguments)))
        for name, workers in (("single", 0), ("2 workers", 2)):
            started = time.perf_counter()
            report = train(a, a.folder / "ctr-validated", workers, ["--learning-rate", "0.5", "--epochs", "1"])
            whole[name].append({"process": 1e3 * (time.perf_counter() - started),
                                "training": 1e3 * report["training_seconds"]})
    result = {"cores": os.cpu_count(), "bound": not a.unbound,
              "rounds": {name: spread(one) for name, one in runs.items()},
              "whole": {name: spread(one) for name, one in whole.items()}}
    for rows in ("1,000", "16,384"):
        one, two = runs[f"ctr {rows}, 1 worker"], runs[f"ctr {rows}, 2 workers"]
        result[f"speedup {rows}"] = spread([{"": 2 * x["round"] / y["round"]} for x, y in zip(one, two)])[""]
    if a.json:
        print(json.dumps(result, indent=2))
        return
    show = lambda s: f"{s['median']:.3f} ({s['min']:.3f}-{s['max']:.3f})"
    print(f"{result['cores']} cores, workers {'bound' if result['bound'] else 'not bound'}; milliseconds a round")
    for name, line in result["rounds"].items():
        phases = " ".join(f"{p} {line[p]['median']:.3f}" for p in (*WORK, *EXCHANGE, "keep"))
        print(f"{name:30s} round {show(line['round'])}  exchange {show(line['exchange'])}\n{'':30s} {phases}\n"
              f"{'':30s} CPU {line['cpu']['median']:.3f}, {line['put_kb']['median']:.0f} kB put, an epoch "
              f"{line['epoch']['median']:.1f} ms, start {line['start']['median']:.1f} ms in all")
    for rows in ("1,000", "16,384"):
        print(f"two workers against one at {rows} rows each: {show(result[f'speedup {rows}'])} times")
    for name, line in result["whole"].items():
        print(f"whole job, {name}: process {show(line['process'])} ms, training {show(line['training'])} ms")


if __name__ == "__main__":
    main()
