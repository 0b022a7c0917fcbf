#!/usr/bin/env python3
"""Times one large file over several connections, from a store on loopback that gives each connection so many MB/s.

    connections.py --drawoff target/release/drawoff [--rates 10,20,90] [--latency-ms 20] [--mib 400] [--runs 3]

The store offers ranges of one entity tag, as object stores do, and waits for the latency before each response. drawoff
copies CSV, its cheapest work, over 1, 2, 4 and 8 connections, and over as many as it chooses. Prints for each the median time,
the rate, its ratio to one connection in the same run, the peak memory, the requests and the connections that the store
counted, and whether the bytes are those of the file.
"""
import argparse
import filecmp
import os
import pathlib
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time


class Store:
    """Serves one file; each connection is paced by itself."""

    def __init__(self, path, rate, latency):
        self.size, self.rate, self.latency = path.stat().st_size, rate, latency
        self.file = os.open(path, os.O_RDONLY)
        self.connections = self.requests = 0
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(64)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/file"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.socket.accept()
            self.connections += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        received = b""
        try:
            while True:
                while b"\r\n\r\n" not in received:
                    more = connection.recv(65536)
                    if not more:
                        return
                    received += more
                head, received = received.split(b"\r\n\r\n", 1)
                self.requests += 1
                time.sleep(self.latency)
                self.answer(connection, head)
        except OSError:
            pass
        finally:
            connection.close()

    def answer(self, connection, head):
        wanted = re.search(rb"(?i)\r\nrange: bytes=(\d+)-(\d*)", head)
        start, end = (int(wanted[1]), int(wanted[2] or self.size) + 1) if wanted else (0, self.size)
        end = min(end, self.size)
        status = f"206 Partial Content\r\nContent-Range: bytes {start}-{end - 1}/{self.size}" if wanted else "200 OK"
        connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {end - start}\r\nETag: \"v1\"\r\n"
                           "Accept-Ranges: bytes\r\n\r\n".encode())
        began, at = time.monotonic(), start
        while at < end:
            at += os.sendfile(connection.fileno(), self.file, at, min(128 << 10, end - at))
            ahead = (at - start) / self.rate - (time.monotonic() - began)
            if ahead > 0:
                time.sleep(ahead)


def run(command):
    """Runs a command; returns its wall time in seconds and its peak memory in MiB."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(errors.decode())
    return time.monotonic() - began, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawoff", required=True, type=pathlib.Path)
    parser.add_argument("--rates", default="10,20,90", help="MB/s of one connection")
    parser.add_argument("--latency-ms", default=20, type=float)
    parser.add_argument("--mib", default=400, type=int, help="size of the file; that of the slowest rate is a quarter")
    parser.add_argument("--runs", default=3, type=int)
    options = parser.parse_args()
    drawoff = options.drawoff.resolve()
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        for rate in map(float, options.rates.split(",")):
            path, out = directory / f"{rate}.csv", directory / "out.csv"
            mib = options.mib if rate >= 20 else options.mib // 4
            with path.open("w") as file:
                file.write("id,text\n")
                line = "x" * 90
                for number in range(mib * (1 << 20) // 100):
                    file.write(f"{number:08},{line}\n")
            print(f"{rate:g} MB/s per connection, {options.latency_ms:g} ms, {path.stat().st_size >> 20} MiB")
            one = None
            for count in ["1", "2", "4", "8", "chosen"]:
                times, peaks, requests, connections = [], [], [], []
                for _ in range(options.runs):
                    store = Store(path, rate * 1e6, options.latency_ms / 1e3)
                    flags = [] if count == "chosen" else ["--connections", count]
                    taken, peak = run([drawoff, "convert", store.url, "-o", out, *flags])
                    if not filecmp.cmp(path, out, shallow=False):
                        raise SystemExit("the bytes differ")
                    times.append(taken)
                    peaks.append(peak)
                    requests.append(store.requests)
                    connections.append(store.connections)
                    out.unlink()
                median = statistics.median(times)
                one = one or median
                print(f"  {count:>6}: {median:6.2f} s  {path.stat().st_size / median / 1e6:6.0f} MB/s  x{one / median:.2f}  "
                      f"{max(peaks):4.0f} MiB  {max(requests)} requests over {max(connections)} connections")
            path.unlink()


if __name__ == "__main__":
    main()
