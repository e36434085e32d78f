"""Finds AWS credentials with botocore, for aws_credentials_test.cc.

Reads lines of an environment, name=value between tabs. Prints for each what botocore finds: access key id, secret, session
token, region and the endpoint of S3.
"""
import os
import sys

from botocore.session import Session

for line in sys.stdin:
    os.environ.clear()
    os.environ.update(field.split("=", 1) for field in line.rstrip("\n").split("\t"))
    session = Session()
    found = session.get_credentials()
    keys = [found.access_key, found.secret_key, found.token or ""] if found else ["", "", ""]
    print(*keys, session.get_config_variable("region") or "", sep="\t")
