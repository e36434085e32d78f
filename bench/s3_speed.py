#!/usr/bin/env python3
"""Objects of 1 KB and 8 MB to and from S3 (OpenStack Swift, started here on loopback), beside curl --aws-sigv4.

Measures, `--repeats` times each, in turns (median and range are printed), on one connection, one after the other:
  put, get   s3_bench: Virga's object store, requests signed with the SHA-256 of what they carry, and its CRC-32C; what is
             got lies in memory
  curl       the same number of objects in one run of curl, which keeps its connection: with the signature over the
             SHA-256 as well (given to it, so it computes none), and what is got thrown away
  bare put   puts of both with a signature that is not over what they carry (bodies=unsigned; UNSIGNED-PAYLOAD)
and the ratio of Virga's speed to curl's in the same turn, of puts also with the time of that SHA-256 added to curl's.
Swift's own work is in both.

Example: bench/s3_speed.py --bin build/release/bin
"""
import argparse
import hashlib
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
SIZES = {1 << 10: 100, 8_000_000: 8}  # bytes: objects a run
EMPTY = hashlib.sha256(b"").hexdigest()


class Swift:
    """As virga/storage/swift_testing.h starts it."""

    def __init__(self, folder):
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
        ports = [str(listener.getsockname()[1]) for listener in listeners]
        for listener in listeners:
            listener.close()
        script = HERE.parent / "virga" / "storage" / "swift_testing.py"
        self.process = subprocess.Popen(["/usr/bin/python3", script, folder, *ports], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for server in ("account", "container", "object", "proxy"):
            self.process.stdin.write(f"start {server}\n")
            self.process.stdin.flush()
            self.process.stdout.readline()
        self.endpoint = f"http://127.0.0.1:{ports[0]}"
        self.for_curl = f"http://test%3Atester:testing@127.0.0.1:{ports[0]}"  # --user takes no user with a colon
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{self.endpoint}/healthcheck", timeout=5)
                break
            except OSError:
                time.sleep(0.1)
        time.sleep(1)

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def curl_seconds(endpoint, method, size, count, folder):
    """Of one object; the first of the run, which connects, is left out."""
    data = folder / "data"
    data.write_bytes(b"x" * size)
    sha = {"put": hashlib.sha256(data.read_bytes()).hexdigest(), "bare put": "UNSIGNED-PAYLOAD", "get": EMPTY}[method]
    one = [f'url = "{endpoint}/bench/curl-{size}"', 'aws-sigv4 = "aws:amz:us-east-1:s3"', f'header = "x-amz-content-sha256: {sha}"', 'output = "/dev/null"', "fail", "silent", "show-error",
           'write-out = "%{stderr}%{time_total}\\n"']
    if method != "get":
        one.append(f'upload-file = "{data}"')
    config = folder / "curl.conf"
    config.write_text("\nnext\n".join("\n".join(one) for _ in range(count + 1)) + "\n")
    said = subprocess.run(["curl", "-K", config], capture_output=True, text=True)
    if said.returncode != 0:
        sys.exit(f"curl: {said.stderr}")
    times = [float(line) for line in said.stderr.split()]
    return sum(times[1:]) / count


def virga_seconds(program, method, size, count, env):
    if method == "bare put":
        env = {**env, "VIRGA_BENCH_S3": env["VIRGA_BENCH_S3"] + "?bodies=unsigned"}
    command = [program, f"--benchmark_filter=BM_S3{method.split()[-1].capitalize()}/{size}/", "--benchmark_format=json",
               f"--benchmark_min_time={count * (0.003 if size < 100_000 else 0.03)}"]
    said = json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)["benchmarks"][0]
    if said.get("error_occurred"):
        sys.exit(said["error_message"])
    return size / said["bytes_per_second"]


def sha256_seconds(size):
    """What a signed put of that size costs its sender, and curl, which is given it, is spared."""
    data = b"x" * size
    times = []
    for _ in range(9):
        started = time.perf_counter()
        hashlib.sha256(data).hexdigest()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def spread(values, form):
    return f"{form(statistics.median(values))} ({form(min(values))} to {form(max(values))})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=pathlib.Path("build/release/bin"))
    parser.add_argument("--repeats", type=int, default=5)
    a = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "swift").mkdir()
        swift = Swift(folder / "swift")
        env = {**os.environ, "AWS_ACCESS_KEY_ID": "test:tester", "AWS_SECRET_ACCESS_KEY": "testing",
               "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": swift.endpoint, "AWS_EC2_METADATA_DISABLED": "true",
               "VIRGA_BENCH_S3": "s3://bench"}
        try:
            subprocess.run(["curl", "-sSf", "-X", "PUT", "--aws-sigv4", "aws:amz:us-east-1:s3",
                            "-H", f"x-amz-content-sha256: {EMPTY}", f"{swift.for_curl}/bench"], check=True)
            for size, count in SIZES.items():
                for method in ("put", "bare put", "get"):
                    ours, theirs = [], []
                    for _ in range(a.repeats):
                        theirs.append(curl_seconds(swift.for_curl, method, size, count, folder))
                        ours.append(virga_seconds(a.bin / "s3_bench", method, size, count, env))
                    ratios = [t / o for t, o in zip(theirs, ours)]
                    print(f"{method:8} {size:>9,} bytes: virga {spread(ours, lambda s: f'{s * 1e3:.2f}')} ms, "
                          f"curl {spread(theirs, lambda s: f'{s * 1e3:.2f}')} ms, "
                          f"speed {spread(ratios, lambda r: f'{r * 100:.0f} %')} of curl's", flush=True)
                    if method == "put":
                        hashed = sha256_seconds(size)
                        ratios = [(t + hashed) / o for t, o in zip(theirs, ours)]
                        print(f"    with the SHA-256 that curl is given, {hashed * 1e3:.2f} ms: "
                              f"{spread(ratios, lambda r: f'{r * 100:.0f} %')}", flush=True)
        finally:
            swift.stop()


if __name__ == "__main__":
    main()
