"""Writes drawn dates and times with Python's strftime, has drawoff read them by the same format, and compares the times;
then lets both read damaged texts: whatever drawoff reads, strptime reads as the same time. Arguments: the program, the
number of dates per format, the seed."""

import csv
import json
import random
import subprocess
import sys
from datetime import datetime, timedelta, timezone

program, cases, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)

FORMATS = [
    "%d/%m/%Y",
    "%m/%d/%y",
    "%d.%m.%y %H:%M",
    "%Y%m%d",
    "%Y%m%d%H%M%S",
    "%d %b %Y",
    "%A, %d %B %Y",
    "%a %b %d %H:%M:%S %Y",
    "%Y-%j",
    "%G-W%V-%u",
    "%I:%M:%S %p, %d-%b-%y",
    "%Y/%m/%d %H:%M:%S.%f",
    "%d/%b/%Y:%H:%M:%S %z",
    "%Y-%m-%dT%H:%M:%S%z",
]
FIRST, LAST = datetime(1000, 1, 1), datetime(9998, 12, 31)
SPAN = int((LAST - FIRST).total_seconds())


def drawn_time(format):
    # Two digits have a century of their own.
    first, span = (datetime(1969, 1, 1), 99 * 365 * 86400) if "%y" in format else (FIRST, SPAN)
    time = first + timedelta(seconds=draw.randrange(span), microseconds=draw.randrange(10**6))
    return time.replace(tzinfo=timezone(timedelta(minutes=15 * draw.randint(-48, 56))))


def damaged(text):
    at = draw.randrange(len(text))
    return draw.choice([text[:at] + text[at + 1 :], text[:at] + draw.choice("0123456789/ -") + text[at + 1 :], text + "0"])


def seconds(text, format):
    """Returns microseconds since 1970 that strptime reads, as drawoff: UTC without an offset; None if it refuses."""
    try:
        time = datetime.strptime(text, format)
    except ValueError:
        return None
    time = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
    return (time - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)


def read(texts, format):
    with open("dates.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["t"], *([text] for text in texts)])
    flags = ["--with", f"x = timestamp(t, '{format}')", "--on-bad-cast", "null", "-q"]
    done = subprocess.run([program, "convert", "dates.csv", "-o", "-", *flags], capture_output=True)
    assert done.returncode == 0, (format, done.stderr.decode())
    values = [json.loads(line)["x"] for line in done.stdout.splitlines()]
    assert len(values) == len(texts)
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    return [value and (datetime.fromisoformat(value) - epoch) // timedelta(microseconds=1) for value in values]


compared = refused = 0
for format in FORMATS:
    texts = [drawn_time(format).strftime(format) for _ in range(cases)]
    for text, found in zip(texts, read(texts, format)):
        assert found == seconds(text, format), (format, text, found)
        compared += 1
    for text, found in zip(texts := [damaged(text) for text in texts], read(texts, format)):
        if found is None:
            refused += 1
        else:
            expected = seconds(text.strip(), format)
            # Names may be whole or abbreviated, for each of which Python has a directive of its own.
            has_names = any(directive in format for directive in ["%A", "%B", "%a", "%b"])
            further = has_names or "%f" in format  # up to nine digits of a fraction, where Python has six
            assert expected == found or further and expected is None, (format, text, found, expected)
assert refused > cases
print(f"{compared} dates, {refused} texts refused, from seed {seed}")
