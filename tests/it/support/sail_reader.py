"""Prints the rows of a table as Sail reads them, sorted by `id`: FORMAT DIRECTORY."""

import datetime
import decimal
import json
import os
import sys

from pysail.spark import SparkConnectServer
from pyspark.sql import SparkSession


def plain(value):
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return value


sail = SparkConnectServer(ip="127.0.0.1", port=0)
sail.start(background=True)
_, port = sail.listening_address
spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
spark.conf.set("spark.sql.session.timeZone", "UTC")
table = spark.read.format(sys.argv[1]).load(os.path.abspath(sys.argv[2])).toArrow()
for row in sorted(table.to_pylist(), key=lambda row: row["id"]):
    print(json.dumps({name: plain(value) for name, value in row.items()}))
sys.stdout.flush()
# Threads of the server would keep the process.
os._exit(0)
