#!/usr/bin/env python3
"""What the examples weigh and how fast they answer, on this machine: a table for each of them, measured with the real gateway.

Each component is built if there is none, compiled in a process of its own (`portcullis compile-policy`, as the gateway does it), loaded into
a gateway that runs already, loaded again from the gateway's cache, logged into by MQTT clients, and put to `portcullis policy bench`.
Take a gateway that was built with --release, and leave the machine alone meanwhile: the load of the machine is a part of the answer.
"""

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import platform
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CASE = "the PIN, during the shift"
# So many clients log in at the same time, each with a badge of its own.
PLACES = 8
PIN = "4711"
PATIENCE = 240

ROWS = [
    ("component", lambda m: octets(m["component"])),
    ("machine code", lambda m: octets(m["code"])),
    ("compiling it, processor time", lambda m: seconds(m["compile_cpu_s"])),
    ("memory of the compiler, a process of its own", lambda m: octets(m["compiler"])),
    ("loading the compiled code from the cache", lambda m: f"{m['load_ms']:.3g} ms"),
    ("anonymous memory of a gateway without it", lambda m: octets(m["fresh"]["anonymous"])),
    ("… more when it has just compiled it", lambda m: added(m["compiled"], m["before"])),
    ("… more with it out of the cache", lambda m: added(m["cached"], m["fresh"])),
    ("… more after the logins", lambda m: added(m["used"], m["fresh"])),
    ("linear memory of an instance", lambda m: octets(m["instance"])),
    ("instantiate, p50", lambda m: micros(m["instantiate"]["p50_us"])),
    ("`authenticate`, p50", lambda m: micros(m["warm"]["p50_us"])),
    ("`authenticate`, p99", lambda m: micros(m["warm"]["p99_us"])),
    ("`authenticate` in a fresh instance, p50", lambda m: micros(m["cold"]["p50_us"])),
    ("logins over MQTT a second", lambda m: f"{m['logins_per_second']:,.0f}"),
    ("processor time of the gateway for each", lambda m: micros(m["login_cpu_us"])),
]


def main():
    arguments = options()
    gateway = find(arguments.gateway)
    folders = arguments.folders or sorted(path.parent.name for path in HERE.glob("badge-*/build"))
    unknown = [name for name in folders if not (HERE / name / "build").is_file()]
    if unknown:
        sys.exit(f"measure.py: no example is called {' or '.join(unknown)}; there are {', '.join(sorted(p.parent.name for p in HERE.glob('badge-*/build')))}")
    before = os.getloadavg()
    measured, missing = {}, []
    for folder in folders:
        say(f"{folder} …")
        try:
            with tempfile.TemporaryDirectory(prefix="badge-") as directory:
                measured[folder] = measure(gateway, folder, pathlib.Path(directory), arguments)
        except Failed as why:
            missing.append(f"{folder}: {why}")
            say(f"{folder} is left out: {why}")
    if arguments.json:
        print(json.dumps(measured, indent=1))
    elif measured:
        table(measured)
        conditions(gateway, before)
    for line in missing:
        say(f"missing: {line}")
    sys.exit(1 if missing else 0)


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", help="the gateway's binary (else $PORTCULLIS, the PATH, or ../target/release)")
    parser.add_argument("--seconds", type=float, default=4, help="for each series of calls or logins (4)")
    parser.add_argument("--build", action="store_true", help="build components anew that are there")
    parser.add_argument("--json", action="store_true", help="print the figures rather than a table")
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="folders of examples/ (all)")
    return parser.parse_args()


def find(named):
    for candidate in [named, os.environ.get("PORTCULLIS")]:
        if candidate:
            found = shutil.which(candidate)
            return str(pathlib.Path(found).resolve()) if found else sys.exit(f"measure.py: {candidate} is no program")
    found = shutil.which("portcullis") or shutil.which(HERE.parent / "target/release/portcullis")
    return found or sys.exit("measure.py: no gateway: `cargo build --release` makes one, and --gateway names another")


class Failed(Exception):
    """One example cannot be measured; the others can."""


def measure(gateway, folder, directory, arguments):
    component = build(folder, arguments.build)
    shutil.copy(component, directory / "badge.wasm")
    found = {"component": component.stat().st_size}
    found |= compiled(gateway, component)
    found |= benched(gateway, component, directory, arguments.seconds)
    found |= lived(gateway, directory, arguments.seconds)
    return found


def build(folder, anew):
    component = HERE / folder / "badge.wasm"
    if anew or not component.exists():
        done = subprocess.run([HERE / folder / "build"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            # The script's own words: which tool is missing, and how to get it.
            raise Failed(done.stderr.strip().removeprefix(f"{folder}: ") or f"its build script ended with {done.returncode}")
    return component


def compiled(gateway, component):
    """Compiles as the gateway does, and asks the system what the process has cost."""
    with open(component, "rb") as source, tempfile.TemporaryFile() as code:
        begun = time.monotonic()
        child = subprocess.Popen([gateway, "compile-policy"], stdin=source, stdout=code)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            raise Failed("it does not compile; what the compiler said is above")
        return {
            "compile_s": time.monotonic() - begun,
            "compile_cpu_s": used.ru_utime + used.ru_stime,
            "compiler": used.ru_maxrss * 1024,
            "code": os.fstat(code.fileno()).st_size,
        }


def benched(gateway, component, directory, seconds):
    cases = directory / "cases.toml"
    # The question is asked far more often than a badge may log in.
    cases.write_text((HERE / "cases.toml").read_text().replace("logins-per-hour = 20", "logins-per-hour = 1000000", 1))
    command = [gateway, "policy", "bench", component, cases, "--filter", CASE, "--seconds", str(max(1, round(2 * seconds))), "--json"]
    told = json.loads(run(command))
    case = told["cases"][0]
    if set(case["verdicts"]) != {"allow"}:
        raise Failed(f"the bench was answered {case['verdicts']}")
    return {
        "instance": case["instance_octets"],
        "instantiate": told["instantiate"],
        "warm": case["warm"],
        "cold": case["cold"],
    }


def lived(gateway, directory, seconds):
    """What becomes of a gateway that takes the policy in, of one that finds it compiled, and of one that works with it."""
    found = {}
    with service(directory) as url, serving(gateway, directory, without()) as running:
        found["before"] = memory(running)
        configure(directory, with_badge(url))
        running.process.send_signal(signal.SIGHUP)
        running.has_badge()
        found["compiled"] = memory(running)
        attempt(running, login(0))
    with service(directory) as url:
        with serving(gateway, directory, without()) as running:
            found["fresh"] = memory(running)
        with serving(gateway, directory, with_badge(url)) as running:
            found["load_ms"] = running.has_badge()["loading"]["code_ms"]
            found["cached"] = memory(running)
            # What is asked once of the badge service is remembered; the first logins are not like the others.
            drive(running, min(1, seconds / 4))
            before, begun = processor(running), time.monotonic()
            count = drive(running, seconds)
            found["login_cpu_us"] = (processor(running) - before) / count * 1e6
            found["logins_per_second"] = count / (time.monotonic() - begun)
            found["used"] = memory(running)
    return found


LISTENER = '[[listener]]\nname = "mqtt"\nbind = "127.0.0.1:0"\npolicies = ["{policy}"]\n\n[admin]\nbind = "127.0.0.1:0"\n'


def without():
    return LISTENER.format(policy="anonymous")


def with_badge(url):
    """The listener stays; in front of it stands the policy, configured as in portcullis.toml."""
    text = (HERE / "portcullis.toml").read_text()
    policy = text[text.index("[[policy]]") : text.index("[admin]")]
    policy = policy.replace("http://127.0.0.1:8099/badges/", url).replace("127.0.0.1:8099", url.split("/")[2])
    policy = policy.replace("logins-per-hour = 20", "logins-per-hour = 1000000")
    # A loaded machine is slow to start Python for the first time.
    policy = policy.replace('deadline = "1s"', 'deadline = "5s", self-test = "30s"')
    return LISTENER.format(policy="badge") + policy


def configure(directory, text):
    (directory / "portcullis.toml").write_text(text)


class Running:
    def __init__(self, gateway, directory, process, address):
        self.gateway, self.directory, self.process, self.address = gateway, directory, process, address

    def has_badge(self):
        """Waits until the policy is live, and says what the gateway knows of it."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            told = json.loads(run([self.gateway, "policy", "list", "--json", "--data", self.directory / "data"]))
            badge = [item for item in told if item["name"] == "badge"]
            if badge:
                return badge[0]
            time.sleep(0.1)
        raise Failed(f"the gateway has not taken it in {PATIENCE} s: {(self.directory / 'log').read_text()[-2000:]}")


@contextlib.contextmanager
def serving(gateway, directory, text):
    configure(directory, text)
    command = [gateway, "serve", "--config", "portcullis.toml", "--data", "data"]
    with open(directory / "log", "w") as log:
        process = subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        ready = process.stdout.readline()
        address = re.search(r" mqtt=(\S+):(\d+)", ready)
        if not address:
            raise Failed(f"the gateway does not start: {(directory / 'log').read_text()[-2000:]}")
        yield Running(gateway, directory, process, (address[1], int(address[2])))
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def service(directory):
    badges = {}
    for place in range(PLACES):
        secret = f"s${hashlib.sha256(f's{PIN}'.encode()).hexdigest()}"
        badges[str(2000 + place)] = {"tenant": "acme", "site": "halle", "roles": ["operator"], "secrets": [secret], "shifts": [{"from": -3600, "to": 36000}]}
    (directory / "badges.json").write_text(json.dumps(badges))
    command = [sys.executable, HERE / "badge-service.py", "--port", "0", directory / "badges.json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


def login(place):
    """CONNECT of MQTT 3.1.1."""
    badge = str(2000 + place)
    fields = [f"acme-halle-{badge}", badge, PIN]
    rest = b"\x00\x04MQTT\x04\xc2\x00\x00" + b"".join(len(f).to_bytes(2, "big") + f.encode() for f in fields)
    return bytes([0x10, len(rest)]) + rest


def attempt(running, packet):
    with socket.create_connection(running.address, timeout=30) as client:
        client.sendall(packet)
        accepted(client.recv(4))
        client.sendall(b"\xe0\x00")


def accepted(answer):
    if answer != b"\x20\x02\x00\x00":
        raise Failed(f"a login was answered {answer.hex() or 'with the end of the connection'}")


def drive(running, seconds):
    """Clients that log in and go, so many at a time. Returns how many did."""
    count, places = 0, selectors.DefaultSelector()

    def begin(place):
        client = socket.create_connection(running.address)
        client.sendall(login(place))
        places.register(client, selectors.EVENT_READ, place)

    for place in range(PLACES):
        begin(place)
    end = time.monotonic() + seconds
    last = end + 30
    while places.get_map():
        for key, _ in places.select(1):
            accepted(key.fileobj.recv(4))
            key.fileobj.sendall(b"\xe0\x00")
            places.unregister(key.fileobj)
            key.fileobj.close()
            count += 1
            if time.monotonic() < end:
                begin(key.data)
        if time.monotonic() > last:
            raise Failed("logins are not answered any more")
    return count


def memory(running):
    """Resident memory: all, and the part that is of no file (anonymous), in octets."""
    text = pathlib.Path(f"/proc/{running.process.pid}/smaps_rollup").read_text()
    kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
    return {"rss": kib["Rss"] * 1024, "anonymous": kib["Anonymous"] * 1024}


def processor(running):
    """Seconds of processor time, of all threads."""
    fields = pathlib.Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed(f"{' '.join(map(str, command[1:3]))} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def table(measured):
    print("| | " + " | ".join(name.removeprefix("badge-") for name in measured) + " |")
    print("| --- |" + " ---: |" * len(measured))
    for name, show in ROWS:
        print(f"| {name} | " + " | ".join(show(m) for m in measured.values()) + " |")


def conditions(gateway, before):
    processors = [line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = processors[0].partition(": ")[2] if processors else platform.machine()
    version = run([gateway, "--version"]).strip()
    load = " and ".join(f"{loads[0]:.1f}" for loads in (before, os.getloadavg()))
    print(f"\n{version}; {len(os.sched_getaffinity(0))} × {model}; {platform.system()} {platform.release()}; load of the machine before and after: {load}.")


def added(now, before):
    """Anonymous memory. What else is resident are pages of files, the gateway's own and the compiled code, which the system may take."""
    return octets(max(now["anonymous"] - before["anonymous"], 0))


def seconds(number):
    return f"{number:,.0f} s" if number >= 10 else f"{number:.2g} s"


def octets(number):
    return f"{number / 1e6:.1f} MB" if number >= 1e6 else f"{number / 1e3:.0f} KB"


def micros(number):
    return f"{number / 1e3:.3g} ms" if number >= 1e4 else f"{number:,.0f} µs" if number >= 10 else f"{number:.1f} µs"


def say(words):
    print(words, file=sys.stderr, flush=True)


main()
