"""Checks the signature of a webhook: what a receiver does before it believes one.

SECRET holds the signing secret, SIGNATURE the header `Sixtyfour-Signature`; the body comes on standard input, as the
bytes that were received.
"""

import hashlib
import hmac
import os
import sys
import time

body = sys.stdin.buffer.read()
parts = [part.split("=", 1) for part in os.environ["SIGNATURE"].split(",")]
sent = next(value for name, value in parts if name == "t")
if abs(time.time() - int(sent)) > 300:
    sys.exit("the signature is too old")
# All of the secret is the key, its head too. During a rotation there are two signatures; one that fits is enough.
expected = hmac.new(os.environ["SECRET"].encode(), f"{sent}.".encode() + body, hashlib.sha256).hexdigest()
if not any(name == "v1" and hmac.compare_digest(value, expected) for name, value in parts):
    sys.exit("the signature is not that of this body")
print("signed")
