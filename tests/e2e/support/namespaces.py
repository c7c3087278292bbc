"""Mount namespaces: disks of a size and a kind of the test's own."""
import shutil
import subprocess

import pytest


def namespaces_work():
    return shutil.which("unshare") and subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode == 0


needs_namespaces = pytest.mark.skipif(not namespaces_work(), reason="mount namespaces are not permitted here")
