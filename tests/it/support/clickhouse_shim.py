"""A shim of ClickHouse's HTTP interface over its engine, chdb: statements in the body or in `?query=`, one at a time.

It is no server: users and passwords are only compared, and settings count as far as statements have them. Everything that
a statement does is the engine's work. Faults are arranged by `POST /fault` with a JSON object:

    {"match": REGEX, "skip": N, "act": ACT}

The statement number N (from 0) that matches is treated once by ACT: `hold-before` and `hold-after` keep the response until
`POST /release`, before or after the statement is executed; `cut-before` and `cut-after` close the connection instead of a
response; `late` sends an error after a status of success; `refuse TEXT` gives this error. `GET /held` tells how many statements are kept, `GET /log` all
statements so far, one per line of JSON.

Arguments: the directory of the data, and a password or nothing. Prints the port. Ends when its standard input does.
"""

import json
import os
import re
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from chdb import session

data, password = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
engine = session.Session(data)
lock = threading.Lock()
faults, log = [], []
released = threading.Event()
held = 0

# Waiting for the input of an INSERT that names its format.
INSERT = re.compile(r"^INSERT\s.*\sFORMAT\s+\w+\s*$", re.IGNORECASE | re.DOTALL)


def execute(sql, body):
    """Executes one statement; returns its result, or raises the engine's error."""
    if body is None or not INSERT.match(sql):
        with lock:
            return engine.query(sql, "TabSeparated").bytes() or b""
    # The rows of an INSERT from a file, which the engine reads as a server reads a body.
    with tempfile.NamedTemporaryFile(dir=data, suffix=".rows") as rows:
        rows.write(body)
        rows.flush()
        at = re.search(r"\sSETTINGS\s|\sFORMAT\s", sql).start()
        with lock:
            engine.query(f"{sql[:at]} FROM INFILE '{rows.name}' {sql[at:]}", "TabSeparated")
    return b""


def fault_of(sql):
    for fault in faults:
        if re.search(fault["match"], sql, re.DOTALL):
            if fault["skip"] > 0:
                fault["skip"] -= 1
                continue
            faults.remove(fault)
            return fault["act"]
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two packets, the second of which would wait.
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, body, code=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", code)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/held":
            return self.answer(200, str(held).encode())
        if self.path == "/log":
            return self.answer(200, "".join(json.dumps(sql) + "\n" for sql in log).encode())
        return self.answer(200, b"Ok.\n")

    def hold(self):
        """Keeps the statement until the release; it counts as held until it is done."""
        global held
        self.is_held = True
        held += 1
        released.wait()

    def cut(self):
        self.close_connection = True
        self.connection.close()

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                part = self.rfile.read(size)
                self.rfile.readline()
                if not size:
                    return b"".join(parts)
                parts.append(part)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_POST(self):
        global held
        self.is_held = False
        try:
            self.treat()
        finally:
            if self.is_held:
                held -= 1

    def treat(self):
        split = urlsplit(self.path)
        if split.path == "/fault":
            fault = json.loads(self.body())
            faults.append({"skip": 0, **fault})
            released.clear()
            return self.answer(200, b"")
        if split.path == "/release":
            self.body()
            released.set()
            return self.answer(200, b"")
        length = int(self.headers.get("Content-Length", 0))
        body = self.body()
        if len(body) < length:
            # The client has ended in the middle of its rows: a server reads no more than that, and drops them.
            return self.cut()
        query = parse_qs(split.query)
        sql = query["query"][0] if "query" in query else body.decode()
        rows = body if "query" in query else None
        if password and self.headers.get("X-ClickHouse-Key") != password:
            text = "Code: 516. DB::Exception: default: Authentication failed. (AUTHENTICATION_FAILED)"
            return self.answer(403, text.encode(), "516")
        log.append(sql)
        act = fault_of(sql)
        if act == "hold-before":
            self.hold()
        if act == "cut-before":
            return self.cut()
        if act and act.startswith("refuse "):
            text = act.removeprefix("refuse ")
            return self.answer(500, text.encode(), re.search(r"Code: (\d+)", text).group(1))
        if act == "late":
            text = "Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED) (version 26.9)\n"
            return self.answer(200, text.encode())
        try:
            result = execute(sql, rows)
        except Exception as error:  # noqa: BLE001: whatever the engine raises is its error
            text = str(error)
            code = re.search(r"Code: (\d+)", text)
            return self.answer(404 if "UNKNOWN" in text else 500, text.encode(), code.group(1) if code else None)
        if act == "hold-after":
            self.hold()
        if act == "cut-after":
            return self.cut()
        return self.answer(200, result)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_address[1], flush=True)
sys.stdin.read()
os._exit(0)
