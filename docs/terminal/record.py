#!/usr/bin/env python3
"""Records session.svg beside this script: Ctrl-C breaks off a download, and the same command finishes the job.

A shell runs in a pseudo-terminal and the commands are typed into it. The picture holds what the terminal showed,
prompts included, and nothing else. The service that the commands talk to is `drawoff serve` on a loopback port; a
fault slows its result files down, so that there is a middle in which Ctrl-C can be pressed.

Only the progress line is shown as it stood when Ctrl-C was pressed, `^C` with it, not as the terminal stands at the
end: drawoff draws over it when it stops.

Needs Linux and bash 4.4 or later.

`--check` does it all again and fails if the picture says something else by now, numbers, ids, times and sizes aside.
"""

import argparse
import contextlib
import difflib
import importlib.util
import itertools
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pyte

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent

RUN = "drawoff run qualify-companies.json --input companies.csv -o results.parquet"
PROOF = "duckdb -c \"SELECT count(*) AS rows, count(DISTINCT domain) AS companies FROM 'results.parquet'\""

# The service takes files of up to 100,000 rows.
COMPANIES = 96_000
# Of every result file, each time that it is asked for.
SLOW_FILES = "drip=0%,bytes=65536,interval=15ms,times=always"
# Ctrl-C is pressed once the progress line says so. It knows the time that is left after a few seconds only.
IN_THE_MIDDLE = r"downloading +[45]\d %.* left"

COLUMNS, ROWS = 100, 60
PROMPT = "$"
# Seconds for a command, and for whatever else is waited for.
COMMAND_LIMIT, LIMIT = 120, 20


class RecordError(Exception):
    """Something did not become what it should have; the message is for people."""


# The stage


def load_test_data():
    """The module that makes the test data."""
    path = CHECKOUT / "testdata" / "make_companies.py"
    spec = importlib.util.spec_from_file_location("make_companies", path)
    module = importlib.util.module_from_spec(spec)
    # Nothing is to be left beside it.
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    return module


def make_companies():
    """The texts of two files as in the test data, only larger: companies, and facts on them."""
    data = load_test_data()
    data.COMPANIES = COMPANIES
    # Names for as many.
    data.FIRST = [first + second for first in data.FIRST for second in data.FIRST]
    rows = data.companies()
    return data.csv_text(rows), data.ndjson_text(data.facts(rows))


def set_stage(folder, drawoff):
    """Makes the session's folders: `work`, `home`, `tmp`, `bin` with the commands; and the service's facts."""
    for name in ("work", "home", "bin", "tmp"):
        (folder / name).mkdir()
    companies, facts = make_companies()
    (folder / "work" / "companies.csv").write_text(companies, encoding="utf-8", newline="")
    (folder / "facts.ndjson").write_text(facts, encoding="utf-8", newline="")
    workflow = CHECKOUT / "testdata" / "workflows" / "qualify-companies.json"
    (folder / "work" / workflow.name).symlink_to(workflow)
    (folder / "bin" / "drawoff").symlink_to(drawoff)
    (folder / "bin" / "duckdb").symlink_to(find_duckdb())


def find_duckdb():
    """DuckDB's command, of the environment that this script runs in before any other."""
    beside = Path(sys.executable).parent
    found = shutil.which("duckdb", path=f"{beside}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        raise RecordError(f"there is no `duckdb`; install {HERE / 'requirements.txt'}")
    return Path(found).absolute()


def environment(folder, **more):
    """The variables of all that runs on the stage: none of the caller's own."""
    return {
        "HOME": str(folder / "home"),
        "XDG_STATE_HOME": str(folder / "home" / "state"),
        "TMPDIR": str(folder / "tmp"),
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.defpath}",
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        **more,
    }


@contextlib.contextmanager
def service(folder):
    """The Workflows service while the block lasts. Gives its address."""
    command = [
        folder / "bin" / "drawoff", "serve", "--port", "0", "--data", folder / "service",
        "--enrich", f"company_enrichment={folder / 'facts.ndjson'}:domain", "--fault", SLOW_FILES,
    ]  # fmt: skip
    with open(folder / "service.log", "w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, env=environment(folder), stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            readable, _, _ = select.select([process.stdout], [], [], LIMIT)
            address = process.stdout.readline().strip() if readable else ""
            if not address.startswith("http://127.0.0.1:"):
                log.seek(0)
                raise RecordError(f"the service did not say its address\n{log.read()}")
            yield address
        finally:
            stop(process)


def stop(process):
    """Ends a process in order, or at once if it does not."""
    process.terminate()
    try:
        process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# The terminal


class Terminal:
    """A shell in a pseudo-terminal, and the screen that it writes on. Nothing scrolls away: the screen is high."""

    def __init__(self, folder, variables):
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.pid, self.end = pty.fork()
        if self.pid == 0:
            termios.tcsetwinsize(0, (ROWS, COLUMNS))
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], variables)
        # Answers to what programs ask a terminal, such as what it can do.
        self.screen.write_process_input = lambda answer: os.write(self.end, answer.encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        """Hangs up, which ends what runs in the terminal."""
        os.close(self.end)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def read(self, patience):
        """What the terminal was sent within `patience` seconds; nothing if nothing came."""
        readable, _, _ = select.select([self.end], [], [], max(patience, 0))
        if not readable:
            return b""
        try:
            sent = os.read(self.end, 65536)
        except OSError:
            sent = b""
        if not sent:
            raise RecordError(f"the shell ended\n{self.text()}")
        return sent

    def wait(self, what, reached, limit=LIMIT):
        """Shows what comes until `reached()` holds."""
        end = time.monotonic() + limit
        while not reached():
            if time.monotonic() >= end:
                raise RecordError(f"{what}: not within {limit} s\n{self.text()}")
            self.stream.feed(self.read(end - time.monotonic()))

    def at_prompt(self):
        """True if the shell waits for a command."""
        cursor = self.screen.cursor
        return self.screen.display[cursor.y].rstrip() == PROMPT and cursor.x == len(PROMPT) + 1

    def type(self, command):
        """Types a command, and returns when the shell has begun it."""
        self.wait("a prompt", self.at_prompt)
        first = self.screen.cursor.y
        os.write(self.end, command.encode())
        typed = f"{PROMPT} {command}"
        self.wait("the echo of what was typed", lambda: self.from_row(first) == typed)
        os.write(self.end, b"\r")
        last = first + (len(typed) - 1) // COLUMNS
        self.wait("the start of the command", lambda: self.screen.cursor.y > last)

    def run(self, command):
        """Types a command and waits for its end."""
        self.type(command)
        self.wait(f"the end of `{command}`", self.at_prompt, COMMAND_LIMIT)

    def interrupt(self, pattern):
        """Presses Ctrl-C once the screen shows `pattern`. Returns the row of it, and all from there on as it stood when
        the terminal had shown `^C` too: what comes afterwards may take it away."""
        self.wait(f"{pattern!r}", lambda: self.row_of(pattern) is not None, COMMAND_LIMIT)
        os.write(self.end, b"\x03")
        sent = b""
        while b"^C" not in sent:
            more = self.read(LIMIT)
            if not more:
                raise RecordError(f"no ^C was shown\n{self.text()}")
            sent += more
        before, mark, after = sent.partition(b"^C")
        self.stream.feed(before + mark)
        at = self.row_of("downloading")
        if at is None:
            raise RecordError(f"Ctrl-C came while the progress line was drawn anew; record again\n{self.text()}")
        rows = [self.cells(row) for row in range(at, self.screen.cursor.y + 1)]
        self.stream.feed(after)
        return at, rows

    def row_of(self, pattern):
        """The last row in which `pattern` is found."""
        found = [row for row, text in enumerate(self.screen.display) if re.search(pattern, text)]
        return found[-1] if found else None

    def from_row(self, first):
        """All text from a row on, as one line."""
        return "".join(self.screen.display[first:]).rstrip()

    def text(self):
        """The whole screen, for messages."""
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def cells(self, row):
        """The characters of one row, with their colours."""
        return [self.screen.buffer[row][column] for column in range(COLUMNS)]


# The session


def record(drawoff):
    """Plays the session and returns the rows of the picture."""
    with tempfile.TemporaryDirectory(prefix="drawoff-session-") as name:
        folder = Path(name)
        set_stage(folder, drawoff)
        with service(folder) as address:
            variables = environment(
                folder,
                SIXTYFOUR_API_ENDPOINT=address,
                SIXTYFOUR_API_KEY="any",
                # A green prompt, and what is typed after it in bold.
                PS1=r"\[\e[32m\]" + PROMPT + r"\[\e[0m\] \[\e[1m\]",
                PS0=r"\e[0m",
            )
            with Terminal(folder / "work", variables) as terminal:
                return play(terminal)


def play(terminal):
    """Types the commands. Returns the rows of the terminal, with the progress line as it stood at Ctrl-C."""
    terminal.type(RUN)
    at, interrupted = terminal.interrupt(IN_THE_MIDDLE)
    terminal.wait("the end of what was interrupted", terminal.at_prompt)
    terminal.run(RUN)
    terminal.run(PROOF)
    # The last row is a prompt that nothing was typed at.
    rows = [terminal.cells(row) for row in range(terminal.screen.cursor.y)]
    left_over = "downloading" in terminal.screen.display[at]
    return rows[:at] + interrupted + rows[at + left_over :]


# The picture

CELL, LINE, FONT_SIZE = 8.4, 20, 14
MARGIN, BAR, GAP = 20, 36, 8
FONTS = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"
BACKGROUND, FOREGROUND = "#161b22", "#e6edf3"
PALETTE = {
    "black": "#6e7681", "red": "#ff7b72", "green": "#7ee787", "brown": "#e3b341",
    "blue": "#79c0ff", "magenta": "#d2a8ff", "cyan": "#76e3ea", "white": "#c9d1d9",
    "brightblack": "#8b949e", "brightred": "#ffa198", "brightgreen": "#aff5b4", "brightbrown": "#f2cc60",
    "brightblue": "#a5d6ff", "brightmagenta": "#e2c5ff", "brightcyan": "#b3f0ff", "brightwhite": "#ffffff",
}  # fmt: skip
# The arms of what tables are drawn with: left, right, up, down.
BOX = {
    "─": "lr", "│": "ud", "┌": "rd", "┐": "ld", "└": "ru", "┘": "lu",
    "├": "rud", "┤": "lud", "┬": "lrd", "┴": "lru", "┼": "lrud",
}  # fmt: skip
SPINNER = "[\u2800-\u28ff]"
NO_BOX = str.maketrans(dict.fromkeys(BOX, " "))


@dataclass(frozen=True)
class Style:
    """How a character looks. A colour is one of the picture's, or `None` for the usual one."""

    colour: str | None
    background: str | None
    bold: bool
    italic: bool
    underlined: bool

    def attributes(self):
        """The same as attributes of SVG."""
        found = {
            "fill": self.colour,
            "font-weight": "bold" if self.bold else None,
            "font-style": "italic" if self.italic else None,
            "text-decoration": "underline" if self.underlined else None,
        }
        return "".join(f' {name}="{value}"' for name, value in found.items() if value)


def colour_of(name):
    """A colour of the terminal as one of the picture; `None` for the usual one."""
    if name == "default":
        return None
    return PALETTE.get(name, f"#{name}")


def style_of(cell):
    """The style of a character on the screen."""
    colour, background = colour_of(cell.fg), colour_of(cell.bg)
    if cell.reverse:
        colour, background = background or BACKGROUND, colour or FOREGROUND
    return Style(colour, background, cell.bold, cell.italics, cell.underscore)


def runs(cells):
    """The row in runs of one style, each with its first column."""
    first = 0
    for style, run in itertools.groupby(cells, style_of):
        run = list(run)
        yield first, "".join(cell.data for cell in run), style
        first += len(run)


def x_of(column):
    """The left end of a column. Half a column is its middle."""
    return f"{MARGIN + column * CELL:.1f}"


def svg_words(first, text, style):
    """Text of one style. Where there are two blanks or more, a new piece begins, so that no width depends on blanks;
    also after what turns on the progress line, which often comes from another font."""
    for word in re.finditer(rf"{SPINNER}|\S+( \S+)*", text):
        length = f' textLength="{len(word.group()) * CELL:.1f}"' if len(word.group()) > 1 else ""
        x = x_of(first + word.start())
        yield f'<tspan x="{x}"{length}{style.attributes()}>{escape(word.group())}</tspan>'


def svg_box(first, text, style, top):
    """The lines of tables, drawn: those of fonts do not meet."""
    middle = top + LINE // 2
    strokes = ""
    for column, character in enumerate(text, first):
        for arm in BOX.get(character, ""):
            end = {"l": f"H{x_of(column)}", "r": f"H{x_of(column + 1)}", "u": f"V{top}", "d": f"V{top + LINE}"}[arm]
            strokes += f"M{x_of(column + 0.5)} {middle}{end}"
    return f'<path d="{strokes}" stroke="{style.colour or FOREGROUND}"/>' if strokes else ""


def svg_line(cells, top):
    """One row of the terminal."""
    shapes, words = "", ""
    for first, text, style in runs(cells):
        if style.background:
            x, width = x_of(first), f"{len(text) * CELL:.1f}"
            shapes += f'<rect x="{x}" y="{top}" width="{width}" height="{LINE}" fill="{style.background}"/>'
        shapes += svg_box(first, text, style, top)
        words += "".join(svg_words(first, text.translate(NO_BOX), style))
    return f'{shapes}<text y="{top + LINE - 5}">{words}</text>' if words else shapes


def tops(rows):
    """Where each row begins, and where the last one ends. A command stands a little apart from what is above it."""
    top = BAR
    for i, cells in enumerate(rows):
        if i > 0 and cells[0].data == PROMPT:
            top += GAP
        yield top
        top += LINE
    yield top


def svg(rows):
    """The whole picture: a dark window with the rows in it."""
    *begins, end = tops(rows)
    width, height = round(2 * MARGIN + COLUMNS * CELL), end + MARGIN
    lines = "\n".join(svg_line(cells, top) for cells, top in zip(rows, begins))
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" \
aria-labelledby="title description">
<title id="title">A terminal session: Ctrl-C breaks off a download, and the same command finishes the job</title>
<desc id="description">drawoff run starts a workflow and downloads its results; Ctrl-C stops it. The same command attaches \
to the run and writes the file. DuckDB counts as many rows in it as the report says.</desc>
<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10" fill="{BACKGROUND}" stroke="#30363d"/>
<g fill="#484f58"><circle cx="22" cy="18" r="5.5"/><circle cx="40" cy="18" r="5.5"/><circle cx="58" cy="18" r="5.5"/></g>
<g font-family="{FONTS}" font-size="{FONT_SIZE}" fill="{FOREGROUND}">
{lines}
</g>
</svg>
"""


# The check


def svg_text(picture):
    """The lines of text in a picture."""
    name = "{http://www.w3.org/2000/svg}text"
    return ["  ".join(text.itertext()) for text in ElementTree.fromstring(picture).iter(name)]


def lasting(lines):
    """What of the text does not change from one recording to the next. Without blanks: where a line breaks depends on
    the numbers in it."""
    text = re.sub(r"\s", "", "".join(lines))
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>", text)
    # The report says this if it is another time than that of the transfer.
    text = re.sub(r",[0-9.]+sinall", "", text)
    text = re.sub(r"[0-9.]+([KMGT]i)?B", "<size>", text)
    # The progress line begins with what turns while it waits.
    text = re.sub(SPINNER, "", text)
    return re.sub(r"[0-9][0-9.]*", "<number>", text)


def check(path, picture):
    """Compares a picture with the file. Raises if they say different things."""
    if not path.exists():
        raise RecordError(f"{path} does not exist; record it without --check")
    old, new = svg_text(path.read_text(encoding="utf-8")), svg_text(picture)
    if lasting(old) != lasting(new):
        raise RecordError("\n".join([f"{path} is stale; record it again", *changes(old, new)]))


def changes(old, new):
    """What was said and is said now, as far as it differs line by line."""
    matcher = difflib.SequenceMatcher(None, [lasting([line]) for line in old], [lasting([line]) for line in new])
    for tag, first, last, new_first, new_last in matcher.get_opcodes():
        if tag != "equal":
            yield from (f"- {line}" for line in old[first:last])
            yield from (f"+ {line}" for line in new[new_first:new_last])


def main():
    """Records or checks, as the command line says."""
    parser = argparse.ArgumentParser(description="Records session.svg from drawoff, really run in a terminal.")
    default = CHECKOUT / "target" / "release" / "drawoff"
    parser.add_argument("--drawoff", type=Path, default=default, help="the program (%(default)s)")
    parser.add_argument("--out", type=Path, default=HERE / "session.svg", help="the picture (%(default)s)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the picture says something else")
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        # As an exception, so that all that was started is ended.
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        if not args.drawoff.is_file():
            raise RecordError(f"there is no {args.drawoff}; `cargo build --release` makes it, or name another")
        picture = svg(record(args.drawoff.absolute()))
        if args.check:
            check(args.out, picture)
        else:
            args.out.write_text(picture, encoding="utf-8")
            print(f"{args.out}: {len(picture.encode())} bytes")
    except RecordError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
