"""Checks a signed token: signature, lifetime, and claims.

    python check_token.py TOKEN PUBLIC.pem CLAIMS
"""

import base64
import hashlib
import json
import pathlib
import sys

import jwt
from cryptography.hazmat.primitives import serialization


def main():
    token, pem, claims = sys.argv[1:]
    public = serialization.load_pem_public_key(pathlib.Path(pem).read_bytes())
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    fingerprint = base64.b64encode(hashlib.sha256(der).digest()).decode()
    text = pathlib.Path(token).read_text()
    found = jwt.decode(text, public, algorithms=["RS256"], options={"verify_aud": False, "require": ["exp", "iat"]})
    for name, value in json.loads(claims).items():
        if found[name] != value.replace("FINGERPRINT", fingerprint):
            sys.exit(f"{name}: {found[name]}")
    if not 0 < found["exp"] - found["iat"] <= 3600:
        sys.exit(f"a lifetime of {found['exp'] - found['iat']} s")


main()
