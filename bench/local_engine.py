#!/usr/bin/env python3
"""What `virga engine` costs, and how well it keeps to what it says.

Usage: bench/local_engine.py [--bin FOLDER] [--idle N] [--active N] [--seconds S] [--json]

Measures, all from outside the engine:
  latency   from a client's request to the event in the function: cold (a new instance) and warm, at 1,769 MB
  billing   Duration and Billed Duration of the REPORT line against the client's clock, less the round trip of an event
            that does nothing
  cpu       processor time of a busy function, as the kernel counts it, against its share (MB / 1,769)
  memory    what a function that allocates without end held when it was killed, against its limit
  step      from a client's request to the first gradient that a worker of virga-function has applied, cold and warm, at
            1,769 MB: click logs, batch 1,000, a run of one worker over a folder. Counted from outside, less what the
            function did after its first step by its own log; so the way back of the answer is in it
  idle      processor time and resident memory of the engine, with N instances that wait for an event and as many under
            way as --active says, each of which sleeps a second and is invoked again

Leaves out: what functions do themselves (the function is bench/local_engine_bootstrap.cc, a static program). Needs
python3-boto3, g++, and control groups for `cpu` and `memory`. On a machine that does other work as well, all of it is
slower.
"""

import argparse
import base64
import glob
import io
import json
import os
import re
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

import botocore.auth
import botocore.awsrequest
import botocore.credentials

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")


class Engine:
    """A `virga engine` of its own, and signed requests to it over connections that are kept."""

    def __init__(self, program, folder, flags=()):
        environment = dict(os.environ, VIRGA_HOME=folder)
        command = [program, "engine", "--listen", "tcp:127.0.0.1:0", "--json", "--memory", "none", "--concurrency", "2000",
                   *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
        self.facts = json.loads(self.process.stdout.readline())
        self.url = self.facts["endpoint_url"]
        self.host = self.url.removeprefix("http://")
        keys = botocore.credentials.Credentials(self.facts["access_key_id"], self.facts["secret_access_key"])
        self.auth = botocore.auth.SigV4Auth(keys, "lambda", self.facts["region"])

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0

    def connect(self):
        name, port = self.host.split(":")
        connection = socket.create_connection((name, int(port)), 300)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def bytes_of(self, method, path, body, headers=None):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = botocore.awsrequest.AWSRequest(method, self.url + path, data=data, headers=headers or {})
        self.auth.add_auth(request)
        lines = [f"{method} {path} HTTP/1.1", "Host: " + self.host, f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + data

    def call(self, method, path, body=b"", headers=None, connection=None):
        own = connection or self.connect()
        own.sendall(self.bytes_of(method, path, body, headers))
        answer = read_answer(own)
        if connection is None:
            own.close()
        return answer

    def create(self, name, zip_bytes, memory_mb, timeout=60):
        body = {"FunctionName": name, "Runtime": "provided.al2023", "Role": "arn:aws:iam::000000000000:role/any",
                "Handler": "bootstrap", "MemorySize": memory_mb, "Timeout": timeout,
                "Code": {"ZipFile": base64.b64encode(zip_bytes).decode()}}
        status, _, answer = self.call("POST", "/2015-03-31/functions", body)
        assert status == 201, answer

    def delete(self, name):
        assert self.call("DELETE", "/2015-03-31/functions/" + name)[0] == 204

    def invoke(self, name, event, connection):
        return self.call("POST", f"/2015-03-31/functions/{name}/invocations", event, {"X-Amz-Log-Type": "Tail"},
                         connection)

    def usage(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        with open(f"/proc/{self.process.pid}/status") as file:
            resident = int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) * 1024
        return (int(fields[11]) + int(fields[12])) / TICKS, resident


def read_answer(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        assert piece, "the engine hung up"
        data += piece
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return int(lines[0].split()[1]), headers, body


def make_zip(folder):
    program = os.path.join(folder, "bootstrap")
    subprocess.run(["g++", "-std=c++20", "-O2", "-static", "-o", program, HERE + "/local_engine_bootstrap.cc"], check=True)
    return zip_of(program)


def report_of(headers):
    log = base64.b64decode(headers["x-amz-log-result"]).decode()
    return {"duration_ms": float(re.search(r"Duration: ([\d.]+) ms", log).group(1)),
            "billed_ms": int(re.search(r"Billed Duration: (\d+) ms", log).group(1)),
            "init_ms": float((re.search(r"Init Duration: ([\d.]+) ms", log) or [0, "0"])[1])}


def timed(engine, name, event, connection):
    before, wall = time.monotonic_ns(), time.time_ns()
    status, headers, body = engine.invoke(name, event, connection)
    outside = (time.monotonic_ns() - before) / 1e6
    assert status == 200 and "x-amz-function-error" not in headers, (headers, body)
    return outside, (json.loads(body)["delivered_ns"] - wall) / 1e6, report_of(headers)


def quantiles(values):
    ordered = sorted(values)
    return {"median": round(statistics.median(ordered), 3), "p95": round(ordered[int(len(ordered) * 0.95)], 3),
            "count": len(ordered)}


def latency(engine, zip_bytes):
    cold, warm = [], []
    connection = engine.connect()
    for i in range(40):
        name = f"cold{i}"
        engine.create(name, zip_bytes, 1769)
        time.sleep(0.05)  # as between runs: the engine has a sandbox ready
        cold.append(timed(engine, name, {}, connection)[1])
        warm += [timed(engine, name, {}, connection)[1] for _ in range(10)]
        engine.delete(name)
    return {"cold_ms": quantiles(cold), "warm_ms": quantiles(warm)}


def zip_of(program):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        with open(program, "rb") as file:
            archive.writestr(entry, file.read(), zipfile.ZIP_DEFLATED)
    return memory.getvalue()


def abandoned_run(binaries, folder):
    """The folder of a run whose driver was killed before its first checkpoint."""
    environment = dict(os.environ, VIRGA_HOME=folder)
    virga = os.path.join(binaries, "virga")
    clicks = os.path.join(folder, "clicks")
    subprocess.run([virga, "generate", "ctr", "--rows", "100000", "--to", clicks, "-q"], check=True, env=environment)
    command = [virga, "train", clicks, "-q", "--engine", "process", "--workers", "1", "--channel", "directory",
               "--batch-size", "1000", "--learning-rate", "0.5", "--epochs", "1000000", "--patience", "0", "--out", "/dev/null"]
    driver = subprocess.Popen(command, env=environment, start_new_session=True, cwd=folder)
    deadline = time.monotonic() + 20
    found = []
    while not found and time.monotonic() < deadline:
        time.sleep(0.05)
        found = glob.glob(os.path.join(folder, "runs", "*", "functions", "registers", "worker*"))
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    subprocess.run(["pkill", "-KILL", "-f", folder])
    assert found, "no worker has begun"
    return os.path.dirname(os.path.dirname(found[0]))


def step(binaries, folder):
    run = abandoned_run(binaries, folder)
    payload = {"version": 1, "run": run, "task": "worker", "worker": 0, "generation": 1, "epoch": 0, "lifetime_ms": 400}
    package = zip_of(os.path.join(binaries, "virga-function"))
    engine = Engine(os.path.join(binaries, "virga"), folder, ["--writable", folder])
    cold, warm = [], []

    def one():
        for name in glob.glob(os.path.join(run, "registers", "worker*")):  # nobody has been this worker before
            shutil.rmtree(name) if os.path.isdir(name) else os.remove(name)
        before = time.monotonic_ns()
        status, headers, body = engine.invoke("worker", payload, connection)
        outside = (time.monotonic_ns() - before) / 1e6
        log = base64.b64decode(headers["x-amz-log-result"]).decode()
        assert status == 200 and json.loads(body)["end"] == "continue", (body, log)
        first = float(re.search(r"first step applied after ([\d.]+) ms", log).group(1))
        return outside - report_of(headers)["duration_ms"] + first

    try:
        connection = engine.connect()
        for _ in range(15):
            engine.create("worker", package, 1769)
            time.sleep(0.05)  # as between runs: the engine has a sandbox ready
            cold.append(one())
            warm += [one() for _ in range(3)]
            engine.delete("worker")
    finally:
        engine.close()
    return {"cold_ms": quantiles(cold), "warm_ms": quantiles(warm), "package_bytes": len(package)}


def billing(engine, zip_bytes):
    engine.create("bill", zip_bytes, 1769)
    connection = engine.connect()
    timed(engine, "bill", {}, connection)
    empty = statistics.median(timed(engine, "bill", {}, connection)[0] for _ in range(100))
    durations, billed = [], []
    for time_ms in [5, 10, 20, 50, 100, 200] * 15:
        outside, _, report = timed(engine, "bill", {"sleep_ms": time_ms}, connection)
        durations.append(abs(report["duration_ms"] - (outside - empty)))
        billed.append(report["billed_ms"] - (outside - empty))
    engine.delete("bill")
    return {"round_trip_of_nothing_ms": round(empty, 3), "duration_difference_ms": quantiles(durations),
            "billed_minus_outside_ms": {"least": round(min(billed), 3), "most": round(max(billed), 3)},
            "within_2_ms": round(sum(abs(b) <= 2 for b in billed) / len(billed), 3)}


def groups_of(engine):
    """Accounting folders of control groups of processes below the engine, by process."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm") as file:
                if file.read().strip() != "bootstrap":
                    continue
            with open(f"/proc/{pid}/cgroup") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        for line in lines:
            _, controllers, path = line.split(":", 2)
            if f"-{engine.process.pid}-" not in path:
                continue
            if "cpuacct" in controllers.split(","):
                for mount in ("/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup/cpu,cpuacct"):
                    if os.path.exists(mount + path):
                        found[pid] = mount + path + "/cpuacct.usage"
            elif controllers == "":
                found.setdefault(pid, "/sys/fs/cgroup" + path + "/cpu.stat")
    return found


def cpu_seconds(file):
    with open(file) as text:
        data = text.read()
    used = re.search(r"usage_usec (\d+)", data)
    return int(used.group(1)) / 1e6 if used else int(data) / 1e9


def cpu(engine, zip_bytes, seconds):
    shares = []
    for memory_mb in (128, 320, 708, 885):
        engine.create("busy", zip_bytes, memory_mb)
        connection = engine.connect()
        timed(engine, "busy", {}, connection)
        files = list(groups_of(engine).values())
        if not files:
            engine.delete("busy")
            return "not measured: there is no control group here"
        request = engine.bytes_of("POST", "/2015-03-31/functions/busy/invocations", {"burn_ms": (seconds + 2) * 1000})
        connection.sendall(request)
        time.sleep(1)
        start, before = time.monotonic(), cpu_seconds(files[0])
        time.sleep(seconds)
        share = (cpu_seconds(files[0]) - before) / (time.monotonic() - start)
        read_answer(connection)
        engine.delete("busy")
        expected = memory_mb / 1769
        shares.append({"memory_mb": memory_mb, "expected": round(expected, 4), "measured": round(share, 4),
                       "difference_percent": round(100 * (share / expected - 1), 2)})
    return shares


def memory(engine, zip_bytes):
    limits = []
    for memory_mb in (128, 512, 1024):
        engine.create("eat", zip_bytes, memory_mb)
        _, headers, body = engine.invoke("eat", {"eat": 1}, engine.connect())
        log = base64.b64decode(headers["x-amz-log-result"]).decode()
        held = max(int(number) for number in re.findall(r"^holds (\d+)$", log, re.M))
        engine.delete("eat")
        limits.append({"memory_mb": memory_mb, "held_mb": held, "error": json.loads(body)["errorType"],
                       "difference_percent": round(100 * (held / memory_mb - 1), 2)})
    return limits


def idle(engine, zip_bytes, idle_count, active_count, seconds):
    engine.create("many", zip_bytes, 128, timeout=900)
    before = engine.usage()
    start = time.monotonic()
    # All at once, and each long enough that no instance serves two.
    event = {"sleep_ms": 30 * (idle_count + active_count)}
    connections = []
    for _ in range(idle_count + active_count):
        connections.append(engine.connect())
        connections[-1].sendall(engine.bytes_of("POST", "/2015-03-31/functions/many/invocations", event))
    for connection in connections:
        status, _, body = read_answer(connection)
        assert status == 200, body
    started = time.monotonic() - start
    instances = len(groups_of(engine))
    time.sleep(2)
    cpu_0, _ = engine.usage()
    at = time.monotonic()
    time.sleep(seconds)
    cpu_1, resident_idle = engine.usage()
    idle_share = (cpu_1 - cpu_0) / (time.monotonic() - at)

    watched = selectors.DefaultSelector()

    def send(connection):
        connection.sendall(engine.bytes_of("POST", "/2015-03-31/functions/many/invocations", {"sleep_ms": 1000}))

    for connection in connections[:active_count]:
        watched.register(connection, selectors.EVENT_READ)
        send(connection)
    count = 0
    time.sleep(1)
    cpu_2, _ = engine.usage()
    at = time.monotonic()
    while time.monotonic() < at + seconds:
        for key, _ in watched.select(1):
            assert read_answer(key.fileobj)[0] == 200
            send(key.fileobj)
            count += 1
    cpu_3, resident = engine.usage()
    elapsed = time.monotonic() - at
    return {"instances": instances, "active": active_count, "started_in_s": round(started, 1),
            "start_cpu_s": round(cpu_0 - before[0], 2),
            "idle_cpu_percent": round(100 * idle_share, 2), "idle_resident_mb": round(resident_idle / 1e6, 1),
            "cpu_percent": round(100 * (cpu_3 - cpu_2) / elapsed, 2), "resident_mb": round(resident / 1e6, 1),
            "invocations_per_s": round(count / elapsed, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=HERE + "/../build/release/bin")
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--active", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--only", default="latency,step,billing,cpu,memory,idle")
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args()
    flags.bin = os.path.abspath(flags.bin)
    with tempfile.TemporaryDirectory() as folder:
        zip_bytes = make_zip(folder)
        result = {"load_at_start": os.getloadavg()[0], "cores": os.cpu_count(), "package_bytes": len(zip_bytes)}
        parts = {"latency": lambda e: latency(e, zip_bytes), "billing": lambda e: billing(e, zip_bytes),
                 "cpu": lambda e: cpu(e, zip_bytes, flags.seconds), "memory": lambda e: memory(e, zip_bytes),
                 "idle": lambda e: idle(e, zip_bytes, flags.idle, flags.active, flags.seconds)}
        for name in flags.only.split(","):
            if name == "step":
                result[name] = step(flags.bin, folder)
                if not flags.json:
                    print(name, json.dumps(result[name], indent=1), file=sys.stderr)
                continue
            engine = Engine(os.path.join(flags.bin, "virga"), folder)
            try:
                result["sandbox"] = engine.facts["sandbox"]
                result[name] = parts[name](engine)
            finally:
                engine.close()
            if not flags.json:
                print(name, json.dumps(result[name], indent=1), file=sys.stderr)
        result["load_at_end"] = os.getloadavg()[0]
    print(json.dumps(result))


main()
