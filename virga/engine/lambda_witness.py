"""The local engine as boto3 and, if it is installed, the AWS command line see it.

Usage: lambda_witness.py ENDPOINT_URL ZIP FOLDER, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION set.
ZIP holds a bootstrap that does what its event says (local_engine_testing.h), FOLDER is one that it may write to. Prints what was tried; ends with an
AssertionError at the first difference from what AWS does.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import boto3
import botocore.config
import botocore.exceptions

ROLE = "arn:aws:iam::000000000000:role/any"


def client(endpoint, **more):
    config = botocore.config.Config(retries={"max_attempts": 1}, read_timeout=120)
    return boto3.client("lambda", endpoint_url=endpoint, config=config, **more)


def create(api, name, zip_bytes, **more):
    settings = {"Runtime": "provided.al2023", "Role": ROLE, "Handler": "bootstrap", "MemorySize": 512, "Timeout": 60}
    settings.update(more)
    return api.create_function(FunctionName=name, Code={"ZipFile": zip_bytes}, **settings)


def invoke(api, name, event, **more):
    return api.invoke(FunctionName=name, Payload=json.dumps(event), **more)


def refused(code, call, *args, **more):
    try:
        call(*args, **more)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error.response
        return error.response
    raise AssertionError("nothing was refused: " + code)


def check_functions(api, zip_bytes):
    made = create(api, "f", zip_bytes, Environment={"Variables": {"WORD": "old"}}, Tags={"of": "tests"})
    assert made["State"] == "Active" and made["CodeSize"] == len(zip_bytes), made
    waiters = [name for name in ("function_active_v2", "function_active") if name in api.waiter_names]
    for name in waiters:
        api.get_waiter(name).wait(FunctionName="f", WaiterConfig={"Delay": 1, "MaxAttempts": 3})
    got = api.get_function(FunctionName="f")
    assert got["Configuration"]["Environment"]["Variables"] == {"WORD": "old"} and got["Tags"] == {"of": "tests"}, got
    assert api.get_function(FunctionName=made["FunctionArn"])["Configuration"]["FunctionName"] == "f"
    changed = api.update_function_configuration(
        FunctionName="f", MemorySize=600, Environment={"Variables": {"WORD": "new"}}, RevisionId=made["RevisionId"]
    )
    assert changed["MemorySize"] == 600
    api.get_waiter("function_updated").wait(FunctionName="f", WaiterConfig={"Delay": 1, "MaxAttempts": 3})
    refused("PreconditionFailedException", api.update_function_configuration, FunctionName="f", Timeout=9,
            RevisionId=made["RevisionId"])
    answer = json.load(invoke(api, "f", {"do": "env"})["Payload"])
    assert answer["env"]["WORD"] == "new" and answer["env"]["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "600"
    api.update_function_code(FunctionName="f", ZipFile=zip_bytes)
    for i in range(60):
        create(api, f"page{i:02}", zip_bytes)
    names = [f["FunctionName"] for page in api.get_paginator("list_functions").paginate() for f in page["Functions"]]
    assert names == ["f"] + [f"page{i:02}" for i in range(60)], names
    for name in names[1:]:
        api.delete_function(FunctionName=name)
    print("functions: created, waited for (" + ", ".join(waiters) + "), got, listed in pages, changed, deleted")


def check_invocations(api):
    result = invoke(api, "f", {"do": "this"}, LogType="Tail")
    log = base64.b64decode(result["LogResult"]).decode()
    assert result["StatusCode"] == 200 and "FunctionError" not in result and result["ExecutedVersion"] == "$LATEST"
    assert "START RequestId: " in log and "did this" in log and "Billed Duration: " in log, log
    assert json.load(result["Payload"])["do"] == "this"
    failed = invoke(api, "f", {"do": "fail"})
    assert failed["StatusCode"] == 200 and failed["FunctionError"] == "Unhandled", failed
    assert json.load(failed["Payload"]) == {"errorType": "Own", "errorMessage": "no"}
    died = json.load(invoke(api, "f", {"do": "exit"})["Payload"])
    assert died["errorType"] == "Runtime.ExitError", died
    assert invoke(api, "f", {"do": "exit"}, InvocationType="DryRun")["StatusCode"] == 204
    print("invoke: RequestResponse with its log, function errors, DryRun")


def check_event(api, folder):
    file = os.path.join(folder, "event")
    assert invoke(api, "f", {"do": "append", "file": file}, InvocationType="Event")["StatusCode"] == 202
    end = time.monotonic() + 60
    while not os.path.exists(file) and time.monotonic() < end:
        time.sleep(0.01)
    assert os.path.exists(file), "the event was not delivered"
    api.put_function_event_invoke_config(FunctionName="f", MaximumRetryAttempts=0)
    assert api.get_function_event_invoke_config(FunctionName="f")["MaximumRetryAttempts"] == 0
    api.delete_function_event_invoke_config(FunctionName="f")
    print("invoke: Event, and how often it is tried again")


def check_refusals(api, endpoint, zip_bytes):
    refused("ResourceNotFoundException", invoke, api, "nobody", {})
    refused("ResourceNotFoundException", api.get_function, FunctionName="nobody")
    refused("ResourceConflictException", create, api, "f", zip_bytes)
    refused("InvalidParameterValueException", create, api, "g", zip_bytes, Runtime="python3.12")
    refused("InvalidParameterValueException", create, api, "g", b"no zip")
    too_large = refused("RequestTooLargeException", invoke, api, "f", {"x": "x" * (6 << 20)})
    assert too_large["ResponseMetadata"]["HTTPStatusCode"] == 413
    refused("InvalidRequestContentException", api.invoke, FunctionName="f", Payload=b"{no json")
    api.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)
    assert api.get_function_concurrency(FunctionName="f")["ReservedConcurrentExecutions"] == 0
    throttled = refused("TooManyRequestsException", invoke, api, "f", {"do": "this"})
    assert throttled["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded", throttled
    api.delete_function_concurrency(FunctionName="f")
    key = os.environ["AWS_ACCESS_KEY_ID"]
    wrong_secret = client(endpoint, aws_access_key_id=key, aws_secret_access_key="x" * 40)
    refused("InvalidSignatureException", wrong_secret.list_functions)
    wrong_key = client(endpoint, aws_access_key_id="AKIAXXXXXXXXXXXXXXXX", aws_secret_access_key="x" * 40)
    refused("UnrecognizedClientException", wrong_key.list_functions)
    print("refusals: as botocore's exceptions")


def check_command_line(endpoint, zip_file):
    if shutil.which("aws") is None:
        return print("aws: not run, it is not installed here")

    def aws(*words, well=True):
        words = ["aws", "lambda", *words, "--endpoint-url", endpoint, "--output", "json"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert (done.returncode == 0) == well, (words, done.stdout, done.stderr)
        return json.loads(done.stdout) if done.stdout else done.stderr

    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        aws("create-function", "--function-name", "cli", "--runtime", "provided.al2023", "--role", ROLE, "--handler",
            "bootstrap", "--zip-file", "fileb://" + zip_file, "--timeout", "30", "--memory-size", "512")
        aws("wait", "function-active-v2", "--function-name", "cli")
        payload = os.path.join(folder, "event")
        with open(payload, "w") as file:
            file.write('{"do": "this"}')
        said = aws("invoke", "--function-name", "cli", "--payload", "fileb://" + payload, "--log-type", "Tail", out)
        assert said["StatusCode"] == 200 and "did this" in base64.b64decode(said["LogResult"]).decode(), said
        with open(out) as file:
            assert json.load(file)["do"] == "this"
        assert [f["FunctionName"] for f in aws("list-functions")["Functions"]] == ["cli", "f"]
        assert aws("get-function", "--function-name", "cli")["Configuration"]["MemorySize"] == 512
        aws("update-function-configuration", "--function-name", "cli", "--memory-size", "256")
        aws("delete-function", "--function-name", "cli")
        assert "ResourceNotFoundException" in aws("get-function", "--function-name", "cli", well=False)
    version = subprocess.run(["aws", "--version"], capture_output=True, text=True).stdout.split()[0]
    print("aws: " + version)


def main():
    endpoint, zip_file, folder = sys.argv[1:]
    with open(zip_file, "rb") as file:
        zip_bytes = file.read()
    api = client(endpoint)
    check_functions(api, zip_bytes)
    check_invocations(api)
    check_event(api, folder)
    check_refusals(api, endpoint, zip_bytes)
    check_command_line(endpoint, zip_file)
    api.delete_function(FunctionName="f")
    assert api.list_functions()["Functions"] == []
    print("boto3 " + boto3.__version__ + ": all is well")


main()
