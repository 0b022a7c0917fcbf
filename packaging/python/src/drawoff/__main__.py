"""`python -m drawoff ARGS` runs the command `drawoff ARGS`."""

import os
import sys

from ._binary import find_binary
from ._errors import BinaryError

if __name__ == "__main__":
    try:
        binary = find_binary()
    except BinaryError as error:
        sys.exit(f"error: {error}")
    os.execv(binary, [binary, *sys.argv[1:]])
