#!/usr/bin/env python3
"""What the examples weigh and how fast they answer, on this machine: a table, measured by `portcullis policy bench`.

    measure.py [FOLDER…]

Folders of this one; all unless given. Those without a badge.wasm are built. PORTCULLIS names the gateway's binary: take one that was built
with --release, and leave the machine alone meanwhile.
"""

import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CASE = "the PIN, during the shift"
COLUMNS = ["folder", "component", "compile", "machine code", "an instance", "login", "login, fresh instance", "logins/s, one thread"]


def main():
    gateway = os.environ.get("PORTCULLIS", "portcullis")
    folders = sys.argv[1:] or sorted(path.parent.name for path in HERE.glob("badge-*/build"))
    print("| " + " | ".join(COLUMNS) + " |")
    print("| --- |" + " ---: |" * (len(COLUMNS) - 1))
    for folder in folders:
        component = HERE / folder / "badge.wasm"
        if not component.exists():
            subprocess.run([HERE / folder / "build"], check=True, stdout=subprocess.DEVNULL)
        command = [gateway, "policy", "bench", component, HERE / "cases.toml", "--filter", CASE, "--json"]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        case = told["cases"][0]
        row = [
            f"`{folder}`",
            octets(told["octets"]),
            f"{told['compile_ms']:,.0f} ms",
            octets(told["compiled_octets"]),
            octets(case["instance_octets"]),
            f"{case['warm']['p50_us']:,.0f} µs",
            f"{case['cold']['p50_us']:,.0f} µs",
            f"{case['warm']['per_second']:,.0f}",
        ]
        print("| " + " | ".join(row) + " |", flush=True)


def octets(number):
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.0f} KB"


main()
