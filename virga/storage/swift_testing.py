"""The S3 of the tests (swift_testing.h): OpenStack Swift in one folder, its servers children of this process.

    swift_testing.py FOLDER PROXY_PORT ACCOUNT_PORT CONTAINER_PORT OBJECT_PORT MEMCACHED_PORT

Reads commands, "start NAME" and "kill NAME", and answers each with a line, "started NAME PID" or "killed NAME". At the end
of its input, so also when the test dies, it kills what it has started. It loads Swift once for all servers, which takes most of
the time that each needs to start.
"""
import os
import pwd
import signal
import subprocess
import sys

import eventlet.patcher

# As each server does; done once, and before there is much to be looked through, it takes a tenth of the time.
eventlet.patcher.monkey_patch(all=False, socket=True, select=True, thread=True)

import swift.account.server
import swift.common.middleware.s3api.s3api
import swift.container.server
import swift.obj.server
import swift.proxy.server
from swift.common.ring import RingBuilder
from swift.common.wsgi import run_wsgi

PLAIN_FILTERS = ["catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "copy", "slo", "dlo", "symlink"]


def write(name, *lines):
    with open(name, "w") as file:
        file.write("\n".join(lines) + "\n")


def configure(ports):
    os.makedirs("node/sdb1")
    write("swift.conf", "[swift-hash]", "swift_hash_path_prefix=a", "swift_hash_path_suffix=b",
          "[storage-policy:0]", "name=gold", "default=yes")
    user = pwd.getpwuid(os.geteuid()).pw_name

    def common(name):
        return ["[DEFAULT]", "bind_ip=127.0.0.1", f"bind_port={ports[name]}", "workers=0", f"user={user}",
                f"swift_dir={os.getcwd()}", "log_level=WARNING"]

    for name in ("account", "container", "object"):
        write(f"{name}.conf", *common(name), f"devices={os.getcwd()}/node", "mount_check=false",
              "disable_fallocate=true", "fallocate_reserve=0", "[pipeline:main]", f"pipeline={name}-server",
              f"[app:{name}-server]", f"use=egg:swift#{name}")
        ring = RingBuilder(6, 1, 1)
        ring.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": ports[name], "device": "sdb1", "weight": 1.0,
                      "meta": "", "replication_ip": "127.0.0.1", "replication_port": ports[name]})
        ring.rebalance()
        ring.get_ring().save(f"{name}.ring.gz")
    write("proxy.conf", *common("proxy"), "[pipeline:main]",
          "pipeline=catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo dlo "
          "versioned_writes symlink proxy-server",
          "[app:proxy-server]", "use=egg:swift#proxy", "account_autocreate=true", "allow_account_management=true",
          "[filter:s3api]", "use=egg:swift#s3api", "s3_acl=false", "location=us-east-1", "storage_domain=s3.localhost",
          "[filter:tempauth]", "use=egg:swift#tempauth", "user_test_tester=testing .admin",
          "[filter:cache]", "use=egg:swift#memcache", f"memcache_servers=127.0.0.1:{ports['memcached']}",
          "[filter:versioned_writes]", "use=egg:swift#versioned_writes", "allow_versioned_writes=true",
          *[line for name in PLAIN_FILTERS for line in (f"[filter:{name}]", f"use=egg:swift#{name}")])


def serve(name):
    """In a child: never returns."""
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(f"{name}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, file in enumerate((null, log, log)):
        os.dup2(file, number)
    conf = os.path.abspath(f"{name}.conf")
    sys.argv = [f"swift-{name}-server", conf]
    os._exit(run_wsgi(conf, f"{name}-server"))


def main():
    folder, *numbers = sys.argv[1:]
    os.chdir(folder)
    ports = dict(zip(("proxy", "account", "container", "object", "memcached"), map(int, numbers)))
    configure(ports)
    memcached = subprocess.Popen(
        ["memcached", "-l", "127.0.0.1", "-p", str(ports["memcached"]), "-U", "0", "-m", "64", "-u",
         pwd.getpwuid(os.geteuid()).pw_name], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    children = {}
    for line in iter(sys.stdin.readline, ""):
        command, name = line.split()
        if command == "start":
            child = os.fork()
            if child == 0:
                try:
                    serve(name)
                finally:
                    os._exit(1)
            children[name] = child
            print("started", name, child, flush=True)
        else:
            child = children.pop(name)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            print("killed", name, flush=True)
    for child in children.values():
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    memcached.kill()
    memcached.wait()


main()
