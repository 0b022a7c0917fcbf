"""Do a plan on Spark or Sail, and commit it: spark_work.py PLAN TARGET... REMOTE is in SPARK_REMOTE, such as sc://host:15002.

Each item is a task that calls `drawoff work`, so drawoff, the key and the plan must be there on all hosts.
"""

import json
import subprocess
import sys

import pyarrow as pa
from pyspark.sql import SparkSession

PLAN, TARGET = sys.argv[1], sys.argv[2:]
# The exit codes that a retry helps against: docs/exit-codes.md.
TRANSIENT = (14, 15, 16, 23, 24, 33, 35, 36, 130)


def work(batches):
    for batch in batches:
        for item in batch.column(0).to_pylist():
            done = subprocess.run(["drawoff", "work", PLAN, "--item", item], capture_output=True, text=True)
            yield pa.RecordBatch.from_pydict({"item": [item], "code": [done.returncode], "error": [done.stderr[-2000:]]})


def open_items():
    listed = subprocess.run(["drawoff", "plan", "status", PLAN, "-o", "ndjson"], check=True, capture_output=True, text=True)
    items = map(json.loads, listed.stdout.splitlines())
    return [(item["item"],) for item in items if item["state"] != "done"]


spark = SparkSession.builder.getOrCreate()
for _ in range(6):
    items = open_items()
    if not items:
        break
    # One partition for each item: items differ in size.
    frame = spark.createDataFrame(items, "item string").repartition(len(items))
    ended = frame.mapInArrow(work, "item string, code long, error string").collect()
    # What no retry helps against ends the job at once; the rest is what the next round finds open.
    if failed := [row for row in ended if row.code not in (0, *TRANSIENT)]:
        sys.exit(f"item {failed[0].item} failed with exit code {failed[0].code}:\n{failed[0].error}")
sys.exit(subprocess.run(["drawoff", "commit", PLAN, *TARGET]).returncode)
