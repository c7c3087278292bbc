"""A network of its own: loopback with public addresses on it, so that the address policy can be tested without
--allow-private and without a packet leaving the machine."""
import ctypes
import os
import subprocess
import threading

CLONE_NEWNET = 0x40000000


class NoIsland(Exception):
    """This user may not make network namespaces."""


def on_island(body, *addresses):
    """Calls body() in a thread whose sockets and child processes live in a new network namespace, where `addresses`
    are local beside 127.0.0.1 and ::1. What it raises, or NoIsland, is raised here."""
    raised = []

    def run():
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                raise NoIsland(os.strerror(ctypes.get_errno()))
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            for address in addresses:
                subprocess.run(["ip", "address", "add", address, "dev", "lo", "nodad"] if ":" in address else
                               ["ip", "address", "add", address, "dev", "lo"], check=True)
            body()
        except BaseException as error:  # pytest's own failures are no Exception
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
