"""A small Iceberg REST catalog over pyiceberg's SqlCatalog (c.db and wh of the current directory), which misbehaves as its
script says. Prints its URL. Writes a line to catalog.log for each commit that arrives, and for each that is made.

The first argument is a JSON object:
  commits     what is done with the first commits: do, drop, hang, do-drop, do-hang, 409, 429, 503, do-500, html (a page with
              status 200), do-html, 404-html, echo (an error that repeats the token), require-c (makes the column c one
              without nulls, and refuses)
  always      what is done with all further commits, instead of do
  token       the token that requests must have
  expires     tokens are handed out for client `id` and secret `secret`, each good for so many requests
  stage       false: the catalog stages no tables
"""

import json
import sys
import threading
import time
import types
import urllib.parse
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

warnings.filterwarnings("ignore")

import os

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchNamespaceError, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.table import CommitTableRequest

script = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
commits = list(script.get("commits", []))
lock = threading.Lock()
tokens = {"last": 0, "left": 0}
catalog = SqlCatalog("default", uri="sqlite:///c.db", warehouse="file://" + os.path.abspath("wh"))
catalog.create_namespace_if_not_exists("crm")


def note(line):
    with open("catalog.log", "a") as log:
        log.write(line + "\n")


class Error(Exception):
    def __init__(self, status, kind, message):
        self.status, self.kind, self.message = status, kind, message


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def respond(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def page(self, status):
        data = b"<html>log in</html>"
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def fail(self, status, kind, message):
        self.respond(status, {"error": {"message": message, "type": kind, "code": status}})

    def drop(self):
        self.close_connection = True
        self.connection.shutdown(2)

    def check_token(self):
        given = self.headers.get("authorization", "")
        if "token" in script and given != f"Bearer {script['token']}":
            raise Error(401, "NotAuthorizedException", "no such token")
        if "expires" in script:
            if given != f"Bearer t{tokens['last']}" or tokens["left"] == 0:
                raise Error(401, "NotAuthorizedException", "the token has expired")
            tokens["left"] -= 1

    def do_GET(self):
        self.handle_request(None)

    def do_POST(self):
        self.handle_request(self.rfile.read(int(self.headers.get("content-length", 0))))

    def handle_request(self, body):
        try:
            url = urllib.parse.urlparse(self.path)
            parts = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
            if parts == ["v1", "oauth", "tokens"]:
                form = dict(urllib.parse.parse_qsl(body.decode()))
                if (form.get("client_id"), form.get("client_secret")) != ("id", "secret"):
                    raise Error(401, "invalid_client", "no such client")
                tokens["last"] += 1
                tokens["left"] = script["expires"]
                return self.respond(200, {"access_token": f"t{tokens['last']}", "token_type": "bearer"})
            self.check_token()
            if parts == ["v1", "config"]:
                warehouse = dict(urllib.parse.parse_qsl(url.query)).get("warehouse")
                return self.respond(200, {"defaults": {}, "overrides": {"prefix": warehouse} if warehouse else {}})
            if parts[0] == "v1" and parts[1] != "namespaces":
                parts.pop(1)
            if parts[:2] != ["v1", "namespaces"] or parts[3] != "tables":
                raise Error(404, "NotFound", "no such path")
            namespace = tuple(parts[2].split("\x1f"))
            if len(parts) == 4:
                return self.stage(namespace, json.loads(body))
            if body is None:
                return self.load(namespace + (parts[4],))
            return self.commit(namespace + (parts[4],), body)
        except Error as error:
            self.fail(error.status, error.kind, error.message)
        except BrokenPipeError:
            pass

    def load(self, name):
        with lock:
            try:
                table = catalog.load_table(name)
            except NoSuchTableError as error:
                raise Error(404, "NoSuchTableException", str(error))
            body = {"metadata-location": table.metadata_location, "metadata": json.loads(table.metadata.model_dump_json())}
        self.respond(200, body)

    def stage(self, namespace, request):
        if not request.get("stage-create") or script.get("stage") is False:
            raise Error(406, "UnsupportedOperationException", "this catalog stages no tables")
        with lock:
            if not catalog.namespace_exists(namespace):
                raise Error(404, "NoSuchNamespaceException", f"Namespace does not exist: {'.'.join(namespace)}")
            location = catalog._resolve_table_location(None, ".".join(namespace), request["name"])
        self.respond(200, {"metadata": {"format-version": 2, "location": location, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1"}})

    def commit(self, name, body):
        with lock:
            act = commits.pop(0) if commits else script.get("always", "do")
        note(f"arrived {act}")
        if act == "drop":
            return self.drop()
        if act == "hang":
            time.sleep(3600)
        if act in ("409", "429", "503"):
            raise Error(int(act), "CommitFailedException", "as the script says")
        if act in ("html", "404-html"):
            return self.page(404 if act == "404-html" else 200)
        if act == "echo":
            raise Error(400, "BadRequest", "bad " + self.headers.get("authorization", "") + " " + "x" * 100000)
        if act == "require-c":
            with catalog.load_table(name).update_schema(allow_incompatible_changes=True) as update:
                update.update_column("c", required=True)
            raise Error(409, "CommitFailedException", "as the script says")
        request = CommitTableRequest.model_validate_json(body)
        with lock:
            try:
                table = types.SimpleNamespace(name=lambda: name)
                done = catalog.commit_table(table, request.requirements, request.updates)
            except (CommitFailedException, TableAlreadyExistsError) as error:
                note("conflict")
                raise Error(409, "CommitFailedException", str(error))
            except (NoSuchTableError, NoSuchNamespaceError) as error:
                raise Error(404, "NoSuchTableException", str(error))
        note("made")
        if act == "do-drop":
            return self.drop()
        if act == "do-hang":
            time.sleep(3600)
        if act == "do-html":
            return self.page(200)
        if act == "do-500":
            raise Error(500, "InternalServerError", "as the script says")
        self.respond(200, {"metadata-location": done.metadata_location, "metadata": json.loads(done.metadata.model_dump_json())})


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
server.serve_forever()
