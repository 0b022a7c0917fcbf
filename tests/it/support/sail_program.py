"""Runs a program of Spark against a Sail of its own: PROGRAM ARGUMENT..."""

import os
import subprocess
import sys

from pysail.spark import SparkConnectServer

sail = SparkConnectServer(ip="127.0.0.1", port=0)
sail.start(background=True)
_, port = sail.listening_address
done = subprocess.run([sys.executable, *sys.argv[1:]], env=dict(os.environ, SPARK_REMOTE=f"sc://127.0.0.1:{port}"))
sys.stdout.flush()
# Threads of the server would keep the process.
os._exit(done.returncode)
