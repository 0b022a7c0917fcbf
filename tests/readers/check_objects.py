"""Runs drawoff against moto's S3, on loopback and in this process, and looks with boto3 at what is there.

    python check_objects.py DRAWOFF FOLDER

Prints the number of comparisons; ends with 1 and the first difference otherwise.
"""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import ThreadedMotoServer
from werkzeug.serving import make_server

drawoff, folder = sys.argv[1], Path(sys.argv[2])
compared = 0

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"
keys = {"AWS_ACCESS_KEY_ID": "AKMARKED", "AWS_SECRET_ACCESS_KEY": "sk-marked-object", "AWS_REGION": "us-east-1"}
environment = {**os.environ, **keys, "AWS_ENDPOINT_URL": endpoint}
s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="AKMARKED",
                  aws_secret_access_key="sk-marked-object")
s3.create_bucket(Bucket="results")


def run(*args, code=0, env=environment, says=""):
    done = subprocess.run([drawoff, *args], cwd=folder, capture_output=True, env=env, timeout=60)
    text = done.stderr.decode()
    if done.returncode != code or says not in text:
        sys.exit(f"{args}: exit code {done.returncode}, expected {code} and {says!r}\n{text}")
    assert "sk-marked" not in text, text
    return text


def same(what, found, expected):
    global compared
    compared += 1
    if found != expected:
        sys.exit(f"{what}: {str(found)[:400]} is not {str(expected)[:400]}")


def stored(key):
    return s3.get_object(Bucket="results", Key=key)["Body"].read()


def keys_there():
    return [item["Key"] for item in s3.list_objects_v2(Bucket="results").get("Contents", [])]


def uploads():
    return [upload["Key"] for upload in s3.list_multipart_uploads(Bucket="results").get("Uploads", [])]


# Small enough to be put at once, in every format, and beside a file.
rows = [{"id": i, "text": f"row {i} é"} for i in range(1000)]
(folder / "small.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
for name in ["a.ndjson", "deep/er/a b.csv.gz", "a.parquet", "a.arrow"]:
    local = name.rsplit("/")[-1]
    run("convert", "small.ndjson", "-o", f"s3://results/{name}", "-o", local)
    same(name, stored(name), (folder / local).read_bytes())
same("uploads", uploads(), [])

# Large enough for several parts.
line = json.dumps({"filler": "x" * 200})
with open(folder / "large.ndjson", "w") as out:
    for i in range(90_000):
        out.write(f'{{"id":{i},"a":{line}}}\n')
large = (folder / "large.ndjson").read_bytes()
assert len(large) > 17 << 20
run("convert", "large.ndjson", "-o", "s3://results/large.ndjson")
same("large", stored("large.ndjson") == large, True)
same("parts", s3.head_object(Bucket="results", Key="large.ndjson")["ETag"].strip('"').endswith("-3"), True)

# What stands there is replaced, or not.
run("convert", "small.ndjson", "-o", "s3://results/large.ndjson", "--no-clobber", code=30, says="leave `--no-clobber` out")
same("not replaced", len(stored("large.ndjson")), len(large))
run("convert", "small.ndjson", "-o", "s3://results/large.ndjson")
same("replaced", stored("large.ndjson"), (folder / "small.ndjson").read_bytes())

# A failure in the middle leaves neither object nor upload, and no other output either.
before = keys_there()
(folder / "broken.ndjson").write_bytes(large + b"{broken\n")
run("convert", "broken.ndjson", "-o", "s3://results/broken.ndjson", "-o", "broken.csv", code=4, says="line 90001")
same("after a failure", [keys_there(), uploads(), (folder / "broken.csv").exists()], [before, [], False])

# So does an interruption, while the input has more to say.
child = subprocess.Popen([drawoff, "convert", "-", "--from", "ndjson", "-o", "s3://results/cut.ndjson"], cwd=folder,
                         stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
child.stdin.write(large)
child.stdin.flush()
deadline = time.monotonic() + 60
while not uploads():
    assert time.monotonic() < deadline and child.poll() is None, "no upload began"
    time.sleep(0.02)
# Its input stays open until it has ended: an end of input could else reach it before the signal does.
child.send_signal(signal.SIGINT)
overdue = threading.Timer(60, child.kill)
overdue.start()
text = child.stderr.read().decode()
child.wait()
overdue.cancel()
child.stdin.close()
same("interrupted", child.returncode, 130)
same("after an interruption", [keys_there(), uploads()], [before, []])

# A folder of objects is what a folder of files would be, its mark last.
(folder / "parted.ndjson").write_text(
    "".join(json.dumps({"n": i, "c": ["NO", "a/b %", None][i % 3]}) + "\n" for i in range(30)))
parted = ["--partition-by", "c", "--max-file-rows", "4"]


def below(prefix):
    return {key[len(prefix):]: stored(key) for key in keys_there() if key.startswith(prefix)}


def files_of(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


for name, flags in [("people", [*parted, "--to", "ndjson"]), ("typed", parted), ("flat", ["--max-file-rows", "7"])]:
    run("convert", "parted.ndjson", "-o", f"s3://results/set/{name}/", *flags)
    run("convert", "parted.ndjson", "-o", f"{name}/", *flags)
    same(name, below(f"set/{name}/"), files_of(folder / name))
same("a mark", "set/people/_SUCCESS" in keys_there(), True)
same("more than one file", len(below("set/typed/")) > 9, True)

# The same source again, with fewer files now, replaces all of its files; those of other sources stay.
(folder / "fewer.ndjson").write_text('{"n":1,"c":"NO"}\n')
s3.put_object(Bucket="results", Key="set/people/notes.txt", Body=b"mine")
run("convert", "parted.ndjson", "-o", "s3://results/set/people", "--to", "ndjson", "--limit", "1", *parted)
same("replaced set", sorted(below("set/people/")), ["_SUCCESS", "_manifest.json", "c=NO/part-00001.ndjson", "notes.txt"])
same("its rows", json.loads(stored("set/people/_manifest.json"))["rows"], 1)
for _ in range(2):
    run("convert", "fewer.ndjson", "-o", "s3://results/set/people", "--to", "ndjson", *parted)
    same("added source", sorted(below("set/people/")),
         ["_SUCCESS", "_manifest.json", "c=NO/part-00001.ndjson", "c=NO/part-00002.ndjson", "notes.txt"])
    same("rows of both", json.loads(stored("set/people/_manifest.json"))["rows"], 2)
run("convert", "fewer.ndjson", "parted.ndjson", "-o", "s3://results/set/people", "--to", "ndjson", "--limit", "1", *parted)
same("both sources", sorted(below("set/people/")), ["_SUCCESS", "_manifest.json", "c=NO/part-00001.ndjson", "notes.txt"])
run("convert", "parted.ndjson", "-o", "s3://results/set/people", *parted, code=30, says="together with results of others")
before = below("set/")
run("convert", "parted.ndjson", "-o", "s3://results/set/people/", "--no-clobber", code=30, says="already holds results")
(folder / "bad.ndjson").write_text((folder / "parted.ndjson").read_text() + "{bad\n")
run("convert", "bad.ndjson", "-o", "s3://results/set/people/", *parted, code=4, says="line 31")
same("after a refusal and a failure", below("set/"), before)
run("convert", "fewer.ndjson", "-o", "s3://no-such-bucket/a/", code=30, says="no-such-bucket")

# Google's store takes objects and their parts as S3 does, but for the signature: that of moto is put in its place.
store = DomainDispatcherApplication(create_backend_app)
signed = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"
google = make_server("127.0.0.1", 0, lambda env, start: store({**env, "HTTP_AUTHORIZATION": signed}, start), threaded=True)
threading.Thread(target=google.serve_forever, daemon=True).start()
account = {"gcs_base_url": f"http://127.0.0.1:{google.server_port}", "disable_oauth": True, "client_email": "",
           "private_key": "", "private_key_id": ""}
(folder / "account.json").write_text(json.dumps(account))
as_google = {**os.environ, "GOOGLE_SERVICE_ACCOUNT": str((folder / "account.json").resolve()), "GOOGLE_ALLOW_HTTP": "true"}
run("convert", "small.ndjson", "-o", "gs://results/of/a.parquet", env=as_google)
same("gs: put at once", stored("of/a.parquet"), (folder / "a.parquet").read_bytes())
run("convert", "large.ndjson", "-o", "gs://results/of/large.ndjson", env=as_google)
same("gs: in parts", stored("of/large.ndjson") == large, True)
run("convert", "parted.ndjson", "-o", "gs://results/of/typed/", *parted, env=as_google)
same("gs: a folder", below("of/typed/"), files_of(folder / "typed"))
same("gs: uploads", uploads(), [])
google.shutdown()

# What cannot be written is known before anything is read.
run("convert", "small.ndjson", "-o", "s3://no-such-bucket/a.ndjson", code=30, says="no-such-bucket")
nobody = {**environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
server.stop()
print(f"{compared} comparisons")
