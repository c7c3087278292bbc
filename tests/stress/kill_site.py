"""What all runs of kill-anything share: the origin with its certificate, the binary, and what the machine has of processes."""
import ctypes
import json
import os
import signal
import subprocess
import urllib.request

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
KEPT_ENVIRONMENT = ("PATH", "LANG", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
FIRST_GROUP = 64


def end_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def binary():
    return os.path.realpath(os.environ.get("HOTFLEET") or os.path.join(ROOT, "build", "tools", "hotfleet"))


def is_sanitized():
    with open(binary(), "rb") as file:
        return b"__asan_init" in file.read()


def has_jobs():
    """Whether this build knows --job."""
    helped = subprocess.run([binary(), "run", "--help"], capture_output=True, text=True, check=True).stdout
    return "--job" in helped


class Site:
    """A running stub origin. `directory` holds its certificate; each run gets a group of addresses of its own, 127.N.0.0/16."""

    def __init__(self, directory):
        self.directory = directory
        subprocess.run(["bash", "-c", '. "$0" && certificate_make "$1" DNS:*.kill.test',
                        os.path.join(ROOT, "tools", "lib.sh"), directory], check=True)
        self.cacert = os.path.join(directory, "ca.pem")
        program = os.path.join(os.path.dirname(binary()), "..", "tests", "stub_origin")
        if not os.access(program, os.X_OK):
            program = os.path.join(ROOT, "build", "tests", "stub_origin")
        self.process = subprocess.Popen(
            [program, "--ledger", "--cert", os.path.join(directory, "site.pem"), "--key", os.path.join(directory, "site.key")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.port = json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def ask(self, word, group):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port['control']}/{word}?{group}", timeout=20) as answer:
            return json.load(answer)


def children_of(pid):
    """Living children, in the order of their pids."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
            return sorted(int(child) for child in children.read().split())
    except OSError:
        return []


def workers_of(pid):
    """Of its children the workers that have come to their own program; others are on their way, or judge the map."""
    workers = []
    for child in children_of(pid):
        try:
            with open(f"/proc/{child}/comm", encoding="ascii") as name:
                workers += [child] if name.read().strip() == "hotfleet-worker" else []
        except OSError:
            pass
    return workers


def has_region(pid):
    """It has the fleet's shared memory open."""
    try:
        return any("memfd:hotfleet" in os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False


def session_members(session):
    """(pid, name) of the processes of a session that have not ended."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                head, rest = file.read().rsplit(")", 1)
        except OSError:
            continue
        fields = rest.split()
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append((int(entry), head.split("(", 1)[1]))
    return found


def descriptors_of(pid):
    """How many descriptors of each kind a process has, sockets left out; None when it is gone."""
    kinds = {}
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            try:
                link = os.readlink(f"/proc/{pid}/fd/{number}")
            except FileNotFoundError:
                continue
            kind = os.path.basename(link) if link.startswith("/") else link.split(":")[0] + link.partition("]")[1]
            if not link.startswith("socket:"):
                kinds[kind] = kinds.get(kind, 0) + 1
    except OSError:
        return None
    return kinds


def path_of_descriptor(pid, name):
    """Where /proc shows a file of this name that a process has open; None when it has none."""
    try:
        for number in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{number}"
            if name in os.path.basename(os.readlink(path)):
                return path
    except OSError:
        pass
    return None
