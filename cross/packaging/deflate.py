"""Deflate, which .ipk (as gzip) and .apk have: with Python's zlib, or 3 to 4 % smaller with zopfli.

Zopfli takes a minute for what zlib does in a second, and any reader reads it. It comes from PyPI, in
one version, so that all get the same bytes; it stays in the cache of cross/build.
"""

import gzip
import os
import subprocess
import sys
import zlib

from .project import Unusable

ZOPFLI = "0.4.3"
# More than 15 rounds bring less than one in a thousand.
ROUNDS = 15
# Below, there is nothing to gain.
LEAST = 4096

zopfli = None


def use_zopfli(root):
    """From now on; downloads it if it is not there."""
    global zopfli
    cache = root / os.environ.get("CROSS_CACHE", "target/cross")
    place = cache / f"zopfli-{ZOPFLI}"
    if not (place / "complete").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                   "--no-deps", "--only-binary", ":all:", "--upgrade", "--target", str(place),
                   f"zopfli=={ZOPFLI}"]
        if subprocess.run(command, stdout=sys.stderr).returncode != 0:
            raise Unusable(f"zopfli {ZOPFLI} cannot be had from PyPI; without --zopfli, zlib is used")
        (place / "complete").touch()
    sys.path.insert(0, str(place))
    import zopfli as module
    import zopfli.gzip
    import zopfli.zlib
    zopfli = module


def raw(data):
    """A bare stream."""
    if zopfli and len(data) >= LEAST:
        # Without zlib's header and sum.
        return zopfli.zlib.compress(data, numiterations=ROUNDS)[2:-4]
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()


def gzipped(data):
    """With gzip's header and sum; no name and no time."""
    if zopfli and len(data) >= LEAST:
        return zopfli.gzip.compress(data, numiterations=ROUNDS)
    return plain(data)


def plain(data):
    """Likewise, for what is compressed within already."""
    return gzip.compress(data, 9, mtime=0)
