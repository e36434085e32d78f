#!/usr/bin/env python3
"""Speed and memory of `virga import`, on synthetic click data as LIBSVM text (39 of 2^20 binary features, 350 bytes a row).

Measures, `--repeats` times each, in turns (median and range are printed):
  import   LIBSVM text -> split, shuffled, encoded blocks on disk, all cores: MB of text a second of the whole process,
           and the CPU seconds that it took; at --rows and at ten times as many, with the peak resident memory of each
  parse    the parser alone on one thread, from text in memory (libsvm_bench): MB/s
  sklearn  sklearn.datasets.load_svmlight_file, which parses on one thread into a matrix in memory, on the first
           --peer-rows rows; and `virga import` of the same rows, whole
The text lies in the page cache. Another load on the machine slows everything down: the load average is printed too.

Example: bench/import_speed.py --bin build/release/bin --folder /tmp/virga-import
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


def run(command, env):
    """Run to the end: seconds, CPU seconds and peak resident bytes of the child."""
    started = time.perf_counter()
    child = os.posix_spawnp(command[0], command, {**os.environ, **env})
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        sys.exit(f"failed with status {status}: {' '.join(command)}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def parser_speed(program):
    """MB/s of the two shapes of libsvm_bench: ones (clicks) and decimals (documents)."""
    output = subprocess.run([program, "--benchmark_format=json"], check=True, capture_output=True, text=True).stdout
    runs = json.loads(output)["benchmarks"]
    return {("documents" if run["name"].endswith("1") else "clicks"): run["bytes_per_second"] / 1e6 for run in runs}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("build/release/bin"))
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where the text is made and kept")
    parser.add_argument("--rows", type=int, default=1_000_000, help="ten times as many take 3.5 GB of disk, twice")
    parser.add_argument("--peer-rows", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    env = {"VIRGA_HOME": str(a.folder / "home")}
    virga = str(a.bin / "virga")

    def text_of(rows):
        path = a.folder / f"ctr-{rows}.svm"
        if not path.exists():
            run([virga, "generate", "ctr", "--to", str(path), "--rows", str(rows), "-q", "--progress", "none"], env)
        return path

    def import_once(path):
        target = a.folder / "set"
        shutil.rmtree(target, ignore_errors=True)
        figures = run([virga, "import", str(path), "--to", str(target), "-q", "--progress", "none"], env)
        shutil.rmtree(target)
        return figures

    def sklearn_once(path):
        program = ("import sys, time; from sklearn.datasets import load_svmlight_file as load\n"
                   "t = time.perf_counter(); load(sys.argv[1]); print(time.perf_counter() - t)")
        return float(subprocess.run(["/usr/bin/python3", "-c", program, str(path)], check=True, capture_output=True,
                                    text=True).stdout)

    def megabytes(path):
        return path.stat().st_size / 1e6

    result = {"cores": os.cpu_count(), "import": {}}
    peer_text = text_of(a.peer_rows)
    texts = {rows: text_of(rows) for rows in (a.rows, 10 * a.rows)}
    measured = {rows: [] for rows in texts}
    parse, peer, own = [], [], []
    for _ in range(a.repeats):
        for rows, path in texts.items():
            measured[rows].append(import_once(path))
        parse.append(parser_speed(str(a.bin / "libsvm_bench")))
        peer.append(megabytes(peer_text) / sklearn_once(peer_text))
        own.append(megabytes(peer_text) / import_once(peer_text)[0])
    for rows, figures in measured.items():
        size = megabytes(texts[rows])
        result["import"][rows] = {"text_mb": size,
                                  "mb_per_second": spread([size / seconds for seconds, _, _ in figures]),
                                  "cpu_seconds": spread([cpu for _, cpu, _ in figures]),
                                  "peak_mib": max(peak for _, _, peak in figures) / 2**20}
    result["parse_mb_per_second"] = {shape: spread([run[shape] for run in parse]) for shape in parse[0]}
    result["peer"] = {"rows": a.peer_rows, "sklearn_mb_per_second": spread(peer), "import_mb_per_second": spread(own),
                      "ratio": spread([ours / theirs for ours, theirs in zip(own, peer)])}
    result["load_average"] = os.getloadavg()[0]
    if a.json:
        json.dump(result, sys.stdout, indent=2)
        print()
        return

    def text(figures, digits=0):
        return f"{figures['median']:.{digits}f} ({figures['min']:.{digits}f}-{figures['max']:.{digits}f})"

    for rows, figures in result["import"].items():
        print(f"import {rows:>10,} rows, {figures['text_mb']:.0f} MB: {text(figures['mb_per_second'])} MB/s, "
              f"{text(figures['cpu_seconds'], 2)} CPU s, peak {figures['peak_mib']:.0f} MiB")
    for shape, figures in result["parse_mb_per_second"].items():
        print(f"parse, one thread, {shape}: {text(figures)} MB/s")
    peer = result["peer"]
    print(f"{a.peer_rows:,} rows: sklearn parses {text(peer['sklearn_mb_per_second'])} MB/s, virga imports "
          f"{text(peer['import_mb_per_second'])} MB/s: {text(peer['ratio'], 1)} times")
    print(f"load average {result['load_average']:.1f} on {result['cores']} cores")


if __name__ == "__main__":
    main()
