#!/usr/bin/env python3
"""Builds the wheel of a command that is compiled already: the same files as `maturin build`, without compiling again.

    packaging/python/build_wheel.py --binary target/release/drawoff --out dist

The tag says which glibc the command needs, by the symbols that it links. The wheel of the same files has the same bytes.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import tomllib

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# Machines of ELF headers, as wheels name them.
MACHINES = {62: "x86_64", 183: "aarch64"}
# What every glibc system has (PEP 600): a command that links anything else would need it in the wheel.
LIBRARIES = {
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
}
# Of every file in the archive: zip has no earlier one.
DATE = (1980, 1, 1, 0, 0, 0)


def platform_tag(binary: Path) -> str:
    """Returns the platform of a command, such as manylinux_2_35_x86_64."""
    head = binary.read_bytes()[:20]
    if head[:4] != b"\x7fELF":
        sys.exit(f"error: {binary} is no ELF file; only Linux is packaged")
    (number,) = struct.unpack_from("<H", head, 18)
    machine = MACHINES.get(number) or sys.exit(f"error: no name for the ELF machine {number}")
    needs = subprocess.run(["objdump", "-p", binary], capture_output=True, text=True, check=True).stdout
    foreign = set(re.findall(r"NEEDED\s+(\S+)", needs)) - LIBRARIES
    if foreign:
        sys.exit(f"error: {binary} links {', '.join(sorted(foreign))}, which not every Linux has")
    versions = [tuple(map(int, version.split("."))) for version in re.findall(r"\bGLIBC_(\d+\.\d+)", needs)]
    if not versions:
        sys.exit(f"error: {binary} links no glibc")
    major, minor = max(versions)
    # 2.17 is the oldest that pip knows by this name.
    return f"manylinux_{major}_{max(minor, 17)}_{machine}"


def metadata(project: dict, version: str) -> str:
    """Returns the METADATA of the wheel, from pyproject.toml."""
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {version}",
        *(f"Classifier: {classifier}" for classifier in project["classifiers"]),
    ]
    for extra, needs in project["optional-dependencies"].items():
        lines += [f"Requires-Dist: {need} ; extra == '{extra}'" for need in needs]
    lines += [f"Provides-Extra: {extra}" for extra in project["optional-dependencies"]]
    lines += [
        "License-File: LICENSE-MIT",
        f"Summary: {project['description']}",
        f"Keywords: {','.join(project['keywords'])}",
        f"License-Expression: {project['license']}",
        f"Requires-Python: {project['requires-python']}",
        "Description-Content-Type: text/markdown; charset=UTF-8; variant=GFM",
    ]
    return "\n".join(lines) + "\n\n" + (HERE / project["readme"]).read_text(encoding="utf-8")


def build(binary: Path, out: Path, strip: bool) -> Path:
    """Writes the wheel into the directory `out` and returns its path."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]["version"]
    tag = f"py3-none-{platform_tag(binary)}"
    info = f"drawoff-{version}.dist-info"
    with tempfile.TemporaryDirectory() as directory:
        command = Path(directory) / "drawoff"
        shutil.copyfile(binary, command)
        if strip:
            subprocess.run(["strip", command], check=True)
        entry_points = "".join(
            f"[{group}]\n" + "".join(f"{name}={value}\n" for name, value in entries.items())
            for group, entries in project["entry-points"].items()
        )
        wheel = f"Wheel-Version: 1.0\nGenerator: drawoff build_wheel\nRoot-Is-Purelib: false\nTag: {tag}\n"
        modules = sorted(
            path for path in (HERE / "src/drawoff").iterdir() if path.suffix == ".py" or path.name == "py.typed"
        )
        files = [(f"drawoff/{path.name}", path.read_bytes(), 0o644) for path in modules]
        files += [
            (f"drawoff-{version}.data/scripts/drawoff", command.read_bytes(), 0o755),
            (f"{info}/METADATA", metadata(project, version).encode(), 0o644),
            (f"{info}/WHEEL", wheel.encode(), 0o644),
            (f"{info}/entry_points.txt", entry_points.encode(), 0o644),
            (f"{info}/licenses/LICENSE-MIT", (ROOT / "LICENSE-MIT").read_bytes(), 0o644),
        ]
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for name, contents, _ in files:
        digest = base64.urlsafe_b64encode(hashlib.sha256(contents).digest()).rstrip(b"=").decode()
        rows.writerow([name, f"sha256={digest}", len(contents)])
    rows.writerow([f"{info}/RECORD", "", ""])
    files.append((f"{info}/RECORD", record.getvalue().encode(), 0o644))
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"drawoff-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, contents, mode in files:
            member = zipfile.ZipInfo(name, DATE)
            member.external_attr = (0o100000 | mode) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, contents)
    return path


def add_checksum(path: Path) -> None:
    """Adds the wheel to the checksums beside it, which `packaging/build` makes of the other packages, if there are any."""
    sums = path.parent / "SHA256SUMS"
    if sums.exists():
        others = [line for line in sums.read_text().splitlines() if not line.endswith(f"  {path.name}")]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        sums.write_text("\n".join([*others, f"{digest}  {path.name}"]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True, help="the compiled command")
    parser.add_argument("--out", type=Path, required=True, help="directory for the wheel")
    parser.add_argument("--no-strip", action="store_true", help="keep the symbols of the command")
    args = parser.parse_args()
    path = build(args.binary, args.out, not args.no_strip)
    add_checksum(path)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
