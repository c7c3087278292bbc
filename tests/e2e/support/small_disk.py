"""A disk of a few kilobytes: a tmpfs that only the calling thread and its children see."""
import contextlib
import ctypes
import os
import subprocess
import threading

CLONE_NEWNS = 0x20000


class NoSmallDisk(Exception):
    """This user may not mount."""


def on_small_disk(path, size, body):
    """Calls body() in a thread that finds a tmpfs of `size` bytes at `path`. What it raises, or NoSmallDisk, is raised
    here."""
    raised = []

    def run():
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
                raise NoSmallDisk(os.strerror(ctypes.get_errno()))
            for command in (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "-o", f"size={size}", "x", path]):
                if subprocess.run(command, capture_output=True, check=False).returncode != 0:
                    raise NoSmallDisk(" ".join(command))
            body()
        except BaseException as error:  # pytest's own failures are no Exception
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


@contextlib.contextmanager
def filled(directory):
    """Without a byte left, for as long as it lasts."""
    path = os.path.join(directory, "filling")
    with open(path, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
    yield
    os.unlink(path)
