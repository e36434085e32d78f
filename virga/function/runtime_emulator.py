"""An imitation of the traits of AWS's Runtime Interface Emulator, to try a bootstrap under.

Usage: runtime_emulator.py BOOTSTRAP [TIMEOUT_SECONDS]

Says "listens on PORT" and serves POST /2015-03-31/functions/function/invocations at that port of 127.0.0.1. The bootstrap
is started with the first event, with AWS_LAMBDA_RUNTIME_API (2018-06-01) in an environment that is otherwise this one's.
One event at a time: others are answered 400. A timeout is answered 200 with "Task timed out after N.00 seconds", and the
bootstrap is killed; one that ends is answered 502. Either is started again for the next event. "START ID" says that an
event has reached the function. Ends, and the bootstrap with it, when standard input does.
"""

import http.server
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
import uuid

INVOCATIONS = "/2015-03-31/functions/function/invocations"
RUNTIME = "/2018-06-01/runtime/"
ARN = "arn:aws:lambda:us-east-1:012345678912:function:test_function"


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Function:
    """The bootstrap, and the event that it has."""

    def __init__(self, program, timeout):
        self.program, self.timeout = program, timeout
        self.reserved = threading.Lock()
        self.events = self.ends = self.process = None
        self.current = None

    def start(self):
        runtime = http.server.ThreadingHTTPServer(("127.0.0.1", 0), RuntimeHandler)
        runtime.function, runtime.daemon_threads = self, True
        threading.Thread(target=runtime.serve_forever, daemon=True).start()
        # Its own for each process: one that was killed takes no event from the next.
        self.events, self.ends = runtime.events, runtime.ends = queue.Queue(), queue.Queue()
        variables = dict(os.environ, AWS_LAMBDA_RUNTIME_API="127.0.0.1:%d" % runtime.server_port)
        self.process = subprocess.Popen([self.program], env=variables, stdin=subprocess.DEVNULL)
        threading.Thread(target=self.watch, args=(self.process, runtime), daemon=True).start()

    def watch(self, process, runtime):
        status = process.wait()
        how = "exit status %d" % status if status >= 0 else "signal: %d" % -status
        runtime.ends.put((502, ("Runtime.ExitError", "Runtime exited with error: " + how)))
        runtime.shutdown()
        runtime.server_close()

    def invoke(self, event):
        """HTTP status and body."""
        if not self.reserved.acquire(blocking=False):
            return 400, b""
        try:
            if self.process is None or self.process.poll() is not None:
                self.start()
            self.current = str(uuid.uuid4())
            deadline = int((time.time() + self.timeout) * 1000)
            self.events.put((self.current, deadline, event))
            try:
                status, body = self.ends.get(timeout=self.timeout)
            except queue.Empty:
                self.kill()
                return 200, b"Task timed out after %d.00 seconds" % self.timeout
            if status == 502:
                kind, text = body
                self.process.wait()
                body = {"errorType": kind, "errorMessage": "RequestId: %s Error: %s" % (self.current, text)}
                body = json.dumps(body).encode()
            return status, body
        finally:
            self.current = None
            self.reserved.release()

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class RuntimeHandler(Handler):
    """The Runtime API, for the bootstrap."""

    def do_GET(self):
        if self.path != RUNTIME + "invocation/next":
            return self.answer(404)
        request, deadline, event = self.server.events.get()
        say("START " + request)
        self.answer(
            200,
            event,
            [
                ("Content-Type", "application/json"),
                ("Lambda-Runtime-Aws-Request-Id", request),
                ("Lambda-Runtime-Deadline-Ms", str(deadline)),
                ("Lambda-Runtime-Invoked-Function-Arn", ARN),
                ("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700"),
            ],
        )

    def do_POST(self):
        body = self.body()
        if self.path == RUNTIME + "init/error":
            self.server.ends.put((502, ("Runtime.InitError", body.decode())))
            return self.answer(202)
        match = re.fullmatch(RUNTIME + "invocation/([^/]+)/(response|error)", self.path)
        if not match:
            return self.answer(404)
        if match.group(1) != self.server.function.current:
            return self.answer(400, b'{"errorType":"InvalidRequestID","errorMessage":"Invalid request ID"}')
        self.answer(202, b'{"status":"OK"}')
        self.server.ends.put((200, body))


class InvokeHandler(Handler):
    """For who invokes."""

    def do_POST(self):
        body = self.body()
        if self.path != INVOCATIONS:
            return self.answer(404)
        self.answer(*self.server.function.invoke(body))


def main():
    function = Function(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 300)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), InvokeHandler)
    server.function, server.daemon_threads = function, True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say("listens on %d" % server.server_port)
    while sys.stdin.read(1):
        pass
    function.kill()


main()
