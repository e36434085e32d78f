#!/usr/bin/env python3
"""The findings of LambdaML (Jiang et al., SIGMOD 2021), looked at again, each with its command and a verdict.

Where a finding is about a service of AWS, the channel is made as slow as the paper measured it (--emulate aws-2021: 80 ms
and 65 MB/s of S3, 0.15 ms and 225 MB/s between c5.large), and the start-up is the paper's; figures of nobody's own measurement here. Redis and Memcached
are real ones, started on this machine. Losses and rounds are those of real runs on real data (Adult, and with
VIRGA_EVAL_DATA reuters earn).

Example: bench/lambdaml.py --build build/release --markdown findings.md
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
ADULT = ROOT / "examples/adult/a9a.gz"
EARN = "reuters21578/earn.train.libsvm.gz"


class Finding:
    def __init__(self, claim):
        self.claim = claim
        self.lines = []
        self.commands = []
        self.verdict = "?"

    def judge(self, agrees, why=""):
        self.verdict = "agrees" if agrees else f"differs{': ' + why if why else ''}"


def bench(build, program, name_filter, finding, environment=None):
    """Times in milliseconds by benchmark name, all iterations of each."""
    command = [str(build / "bin" / program), f"--benchmark_filter={name_filter}", "--benchmark_format=json"]
    shown = [f"{k}={v}" for k, v in (environment or {}).items() if "unix:" not in v]
    finding.commands.append(" ".join(shown + [f"build/{build.name}/bin/{program}", f"--benchmark_filter='{name_filter}'"]))
    done = subprocess.run(command, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, check=True)
    return {b["name"]: b["real_time"] for b in json.loads(done.stdout)["benchmarks"]}


def pattern_time(times, service, size, pattern):
    """0: leader, 1: scatter-reduce, of ten workers."""
    wanted = f"service:{service}/members:10/bytes:{size}/pattern:{pattern}"
    return next(t for name, t in times.items() if wanted in name)


def compare(build, arguments, finding):
    command = ["compare", *map(str, arguments), "--json", "-q"]
    shown = " ".join(command[:-2]).replace(f"{ROOT}/", "")
    finding.commands.append("virga " + shown.replace(os.environ.get("VIRGA_EVAL_DATA") or "$", "$VIRGA_EVAL_DATA"))
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run([build / "bin/virga", *command], env={**os.environ, "VIRGA_HOME": home},
                              stdout=subprocess.PIPE, check=True)
    return {p["preset"]: p for p in json.loads(done.stdout)["presets"]}


def patterns(build, findings):
    finding = Finding("Scatter-reduce beats the leader for big messages (50 MB) and loses for small ones (1 KB), through S3")
    # Of ten members, by name: 50'000'000 and 1'024 bytes.
    times = bench(build, "patterns_bench", "members:10", finding)
    small = [pattern_time(times, 0, 1024, p) for p in (0, 1)]
    big = [pattern_time(times, 0, 50000000, p) for p in (0, 1)]
    finding.lines = [f"1 KB: leader {small[0]:.0f} ms a round, scatter-reduce {small[1]:.0f} ms",
                     f"50 MB: leader {big[0] / 1e3:.1f} s, scatter-reduce {big[1] / 1e3:.1f} s"]
    # Less than 5 % is no difference: both patterns have two latencies in a row.
    if big[1] < big[0] and small[1] > 1.05 * small[0]:
        finding.judge(True)
    else:
        finding.verdict = ("agrees" if big[1] < big[0] else "differs") + (
            " for big messages, differs for small ones: requests of a worker are under way at once here, so that "
            "scatter-reduce has as few latencies one after the other as the leader has; the paper's workers ask for one "
            "object after the other")
    findings.append(finding)


def wide_set(path, rows=2000, features=10000, classes=400, filled=500):
    """Rows whose softmax model has four million weights; a step of 200 of them touches nearly all."""
    draw = random.Random(7)
    with open(path, "w") as file:
        for row in range(rows):
            columns = sorted(draw.sample(range(1, features + 1), filled))
            file.write(f"{row % classes} " + " ".join(f"{c}:{draw.random():.3f}" for c in columns) + "\n")


def seconds_a_round(preset):
    """Between the first evaluation and the last, so that nothing of the start is in it."""
    curve = preset["runs"][0]["curve"]
    return (curve[-1]["seconds"] - curve[0]["seconds"]) / (curve[-1]["round"] - curve[0]["round"])


def machines(build, findings, folder):
    finding = Finding("Functions beat virtual machines when rounds are few, and lose when messages are big and rounds many")
    gradients = folder / "gradients-s3.toml"
    gradients.write_text('# gradient averaging through S3\n[functions]\nengine = "local"\n[exchange]\n'
                         'algorithm = "gradient-averaging"\npattern = "scatter-reduce"\nchannel = "s3"\n')
    wide = folder / "wide.svm"
    wide_set(wide)
    common = ["--workers", 4, "--emulate", "aws-2021", "--patience", 0]

    few = compare(build, [ADULT, "--presets", "lambdaml-s3,vm", "--algorithm", "admm", "--epochs", 20, *common], finding)
    times = {p: few[p]["seconds_to_loss_with_startup"]["median"] for p in ("lambdaml-s3", "vm")}
    for preset, name in (("lambdaml-s3", "functions through S3"), ("vm", "virtual machines")):
        finding.lines.append(
            f"a9a by ADMM, {name}: {few[preset]['rounds_to_loss']['median']:.0f} rounds, "
            f"{few[preset]['seconds_to_loss']['median']:.1f} s, with the platform's start-up {times[preset]:.1f} s, "
            f"${few[preset]['usd_to_loss']['median']:.4f}")

    even = {}
    for name, path, more in (("a9a, 0.5 KB", ADULT, ["--batch-size", 1000, "--epochs", 3]),
                             ("wide, 16 MB", wide, ["--batch-size", 200, "--epochs", 3, "--learning-rate", 0.1])):
        found = compare(build, [path, "--presets", f"{gradients},vm", "--pattern", "scatter-reduce", *more, *common], finding)
        a_round = {p: seconds_a_round(found[p]) for p in ("gradients-s3", "vm")}
        ahead = found["vm"]["startup_seconds"] - found["gradients-s3"]["startup_seconds"]
        even[name] = ahead / (a_round["gradients-s3"] - a_round["vm"])
        finding.lines.append(f"gradient averaging, {name} a worker and round: {a_round['gradients-s3']:.3f} s a round "
                             f"through S3, {a_round['vm']:.4f} s between c5.large: functions are ahead for {even[name]:.0f} "
                             f"rounds")
    small, big = even.values()
    finding.judge(times["lambdaml-s3"] < times["vm"] and 0 < big < small,
                  "the break-even is where it should not be")
    finding.commands = [c.replace(str(folder), "FOLDER") for c in finding.commands]
    findings.append(finding)


def caches(build, findings, folder):
    finding = Finding("Memcached is no slower than Redis for big models with many workers")
    sockets = {"redis": folder / "redis.socket", "memcached": folder / "memcached.socket"}
    servers = [subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", sockets["redis"], "--save", "",
                                 "--dir", folder], stdout=subprocess.DEVNULL),
               subprocess.Popen(["memcached", "-M", "-m", "8192", "-I", "8m", "-s", sockets["memcached"], "-u", "root"])]
    try:
        while not all(path.exists() for path in sockets.values()):
            time.sleep(0.05)
        times = {"redis": [], "memcached": []}
        for _ in range(2):  # by turns
            for service, path in sockets.items():
                found = bench(build, "all_reduce_channel_bench", "members:4/bytes:52428800/pattern:1", finding,
                              {"VIRGA_BENCH_CHANNEL": f"{service}:unix:{path}"})
                times[service] += found.values()
    finally:
        for server in servers:
            server.terminate()
            server.wait()
    finding.commands = ["VIRGA_BENCH_CHANNEL=... " + finding.commands[0] + ", twice each by turns"]
    middle = {s: statistics.median(t) for s, t in times.items()}
    finding.lines = [f"{s}: 50 MiB among 4, {middle[s]:.0f} ms a round ({min(t):.0f} to {max(t):.0f})"
                     for s, t in times.items()]
    finding.judge(middle["memcached"] <= 1.05 * middle["redis"],
                  "four workers and the server share two cores here, so that what counts is processor time, where "
                  "Redis's one thread is no bottleneck")
    findings.append(finding)


def admm(build, findings, data):
    sets = {"a9a": ADULT}
    if data and (data / EARN).exists():
        sets["reuters earn"] = data / EARN
    finding = Finding("ADMM needs at most a tenth of gradient averaging's rounds on convex models")
    ratios = []
    for name, path in sets.items():
        found = compare(build, [path, "--presets", "functions-ps,admm", "--workers", 4, "--epochs", 40, "--patience", 0],
                        finding)
        rounds = {p: found[p]["rounds_to_loss"]["median"] for p in ("functions-ps", "admm")}
        ratios.append(rounds["functions-ps"] / rounds["admm"])
        finding.lines.append(f"{name}: {rounds['admm']:.0f} rounds with ADMM, {rounds['functions-ps']:.0f} with gradient "
                             f"averaging, to the lowest validation loss that both reach")
    finding.judge(min(ratios) >= 10)
    findings.append(finding)


def rises(points):
    """By how much the loss went up from one evaluation to the next, on average, after the first quarter."""
    losses = [p["loss"] for p in points][len(points) // 4:]
    return statistics.mean(max(0.0, b - a) for a, b in zip(losses, losses[1:]))


def asynchrony(build, findings):
    finding = Finding("The loss of ASP is less steady than that of BSP")
    # A constant rate, so that steps stay as large as at the start.
    found = compare(build, [ADULT, "--presets", "functions-ps,siren", "--workers", 4, "--epochs", 16, "--patience", 0,
                            "--optimizer", "sgd", "--schedule", "constant", "--learning-rate", 0.5, "--repeats", 5],
                    finding)
    up = {p: [rises(run["curve"]) for run in found[p]["runs"]] for p in found}
    for preset, values in up.items():
        finding.lines.append(f"{preset}: the loss rises by {statistics.median(values):.2e} on average from one epoch to the "
                             f"next ({min(values):.2e} to {max(values):.2e}, five seeds); best "
                             f"{found[preset]['best_loss']['median']:.5f}")
    finding.judge(statistics.median(up["siren"]) > max(up["functions-ps"]),
                  "medians and ranges do not lie apart" if statistics.median(up["siren"]) > statistics.median(
                      up["functions-ps"]) else "ASP was as steady")
    findings.append(finding)


def untestable(findings):
    finding = Finding("DynamoDB is faster than S3 for small models")
    finding.lines = ["the imitations of both that run on one machine have speeds of their own, and the paper gives no "
                     "latency and bandwidth of DynamoDB that could be emulated"]
    finding.verdict = "not testable here"
    findings.append(finding)


def text(findings):
    out = []
    for finding in findings:
        out.append(f"## {finding.claim}\n")
        out += [f"    {command}" for command in dict.fromkeys(finding.commands)]
        out += [""] * bool(finding.commands) + [f"- {line}" for line in finding.lines]
        out.append(f"\n**Verdict: {finding.verdict}.**\n")
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release", help="built with -DVIRGA_BENCH=ON")
    parser.add_argument("--markdown", type=pathlib.Path, help="write the findings there, too")
    parser.add_argument("--only", choices=["patterns", "machines", "caches", "admm", "asp"], help="one part")
    arguments = parser.parse_args()
    data = os.environ.get("VIRGA_EVAL_DATA")
    findings = []
    with tempfile.TemporaryDirectory() as folder:
        for name, look in {"patterns": lambda: patterns(arguments.build, findings),
                           "machines": lambda: machines(arguments.build, findings, pathlib.Path(folder)),
                           "caches": lambda: caches(arguments.build, findings, pathlib.Path(folder)),
                           "admm": lambda: admm(arguments.build, findings, pathlib.Path(data) if data else None),
                           "asp": lambda: asynchrony(arguments.build, findings)}.items():
            if arguments.only in (None, name):
                look()
                print(f"{name} done", file=sys.stderr)
    if arguments.only is None:
        untestable(findings)
    print(text(findings))
    if arguments.markdown:
        arguments.markdown.write_text(text(findings))


if __name__ == "__main__":
    main()
