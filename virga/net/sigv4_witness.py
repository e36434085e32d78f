"""Signs requests with botocore, for sigv4_test.cc.

Reads lines of fields between tabs: service, method, URL, session token, body, then headers as name=value. Prints for each
the date and the Authorization header that botocore gives it.
"""
import sys

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

for line in sys.stdin:
    service, method, url, token, body, *headers = line.rstrip("\n").split("\t")
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token or None)
    request = AWSRequest(method, url, dict(header.split("=", 1) for header in headers), body.encode())
    signer = S3SigV4Auth if service == "s3" else SigV4Auth
    signer(credentials, service, "us-east-1").add_auth(request)
    print(request.context["timestamp"], request.headers["Authorization"], sep="\t")
