"""`serve`: the local Workflows service, for tests."""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator

from . import _options as options_of
from ._errors import Error
from ._options import ServeOptions
from ._process import Process, Scratch

if TYPE_CHECKING:
    from typing_extensions import Unpack

_START_LIMIT = 60.0


class Service:
    """A running local service.

    Attributes:
        url: Base URL.
        api_key: Key that its clients may use; it accepts any that is not empty.
        state_dir: Temporary directory for the ledgers of its clients.
    """

    def __init__(self, process: Process, url: str, state_dir: str) -> None:
        self._process = process
        self.url = url
        self.api_key = "local"
        self.state_dir = state_dir

    @property
    def options(self) -> Dict[str, Any]:
        """Options with which a call goes to this service: `drawoff.runs(**service.options)`."""
        return {"endpoint": self.url, "api_key": self.api_key, "state_dir": self.state_dir}

    @property
    def environ(self) -> Dict[str, str]:
        """Variables of the environment with which every call, and the command, goes to this service."""
        return {
            "SIXTYFOUR_API_ENDPOINT": self.url,
            "SIXTYFOUR_API_KEY": self.api_key,
            "DRAWOFF_STATE_DIR": self.state_dir,
        }

    def __repr__(self) -> str:
        return f"<drawoff.Service {self.url}>"


@contextlib.contextmanager
def serve(**options: Unpack[ServeOptions]) -> Iterator[Service]:
    """Runs the local Workflows service on a free port of 127.0.0.1 while the block lasts.

    Without `data` its store is temporary. The options are flags of `drawoff serve`: see `drawoff.ServeOptions`; the
    limits on requests are off unless they are given.

        with drawoff.serve() as service:
            drawoff.run("workflow.json", input="companies.csv", **service.options)
    """
    options_of.check(options, options_of.known(ServeOptions), "serve")
    # Tests make more requests than people.
    given = dict(options) if options.get("like_hosted") else {"rate_limit": 0, "bulk_limit": 0, **options}
    env = options_of.environment(given)
    # The key that a client sends is no key of the service.
    for name in ("DRAWOFF_SERVE_API_KEY", "SIXTYFOUR_API_KEY"):
        env.pop(name, None)
    with Scratch() as state_dir:
        process = Process(["serve", "--port=0", "--color=never", *options_of.to_arguments(given)], env=env)
        try:
            yield Service(process, _address(process), state_dir)
        finally:
            # Ctrl-C is how people stop it; it has 5 s for active runs.
            process.interrupt()


def _address(process: Process) -> str:
    line = b""
    limit = time.monotonic() + _START_LIMIT
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout_fd], [], [], max(limit - time.monotonic(), 0))
        if not ready:
            raise Error(f"the local service did not start within {_START_LIMIT:.0f} s")
        byte = os.read(process.stdout_fd, 1)
        if not byte:
            process.finish()
            raise Error("the local service ended before it listened")
        line += byte
    return line.decode().strip()
