"""The sources of a release, and the folder with which OpenWrt's build system makes a package of them.

Why: a folder in a feed of packages has no sources, but where they are and their hash, which nobody
knows before they are packed. So the folder of the repository is written anew with it.

Limits: what is packed is the last commit.
"""

import gzip
import hashlib
import subprocess

from .project import Unusable

FOLDER = "openwrt/onebox"
UNKNOWN = "PKG_HASH:=skip"


def source(project):
    """Names and bytes of the archive and of the folder's files, and whether these can be run."""
    name = f"onebox-{project.version}"
    try:
        archive = subprocess.run(
            ["git", "-C", str(project.root), "archive", "--format=tar", f"--prefix={name}/", "HEAD"],
            check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unusable(f"the sources cannot be packed: {error}") from error
    data = gzip.compress(archive, 9, mtime=0)
    makefile = (project.root / FOLDER / "Makefile").read_text()
    lines = makefile.splitlines()
    # Nobody knows it yet: that remark goes with it.
    at = lines.index(UNKNOWN)
    lines[at - 1:at + 1] = [f"PKG_HASH:={hashlib.sha256(data).hexdigest()}"]
    return [
        (f"{name}.tar.gz", data, False),
        ("onebox/Makefile", "".join(f"{line}\n" for line in lines).encode(), False),
        ("onebox/test.sh", (project.root / FOLDER / "test.sh").read_bytes(), True),
    ]
