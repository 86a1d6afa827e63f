"""What the tests of the packages share: a program to package, packages, roots, commands."""

import functools
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

from packaging.binary import MACHINES, processor
from packaging.project import Project

ROOT = pathlib.Path(__file__).resolve().parents[2]
OPENWRT = ["aarch64_cortex-a53", "aarch64_generic", "arm_cortex-a7_neon-vfpv4", "mips_24kc",
           "mipsel_24kc", "riscv64_generic", "x86_64"]
DEBIAN = ["amd64", "arm64"]
EPOCH = 1_700_000_000
# x86_64: write(1, text, length), exit(0)
PRINT = (b"\xb8\x01\0\0\0\xbf\x01\0\0\0\x48\xbe%s\xba%s\x0f\x05"
         b"\xb8\x3c\0\0\0\x31\xff\x0f\x05")
LOADED_AT = 0x400000


def program(arch, version=None, interpreter=False):
    """A static program for `arch`: its headers, and for x86_64 what prints the version."""
    width, order, machine, _ = MACHINES[processor(arch)]
    wide = width == 8
    header, segment = (64, 56) if wide else (52, 32)
    start = header + segment
    text = f"onebox {version or project().version}\n".encode()
    code = b""
    if processor(arch) == "x86_64":
        length = len(PRINT) - 4 + 8 + 4
        code = PRINT % (struct.pack("<Q", LOADED_AT + start + length),
                        struct.pack("<I", len(text)))
    body = code + text
    kind, size = 3 if interpreter else 1, start + len(body)
    ident = b"\x7fELF" + bytes([width // 4, 1 if order == "<" else 2, 1]) + bytes(9)
    word = "Q" if wide else "I"
    elf = struct.pack(f"{order}HHI3{word}I6H", 2, machine, 1, LOADED_AT + start, header, 0, 0,
                      header, segment, 1, 0, 0, 0)
    if wide:
        segments = struct.pack(f"{order}II6Q", kind, 5, 0, LOADED_AT, LOADED_AT, size, size, 4096)
    else:
        segments = struct.pack(f"{order}8I", kind, 0, LOADED_AT, LOADED_AT, size, size, 5, 4096)
    return ident + elf + segments + body


@functools.cache
def project():
    return Project(ROOT)


class Case(unittest.TestCase):
    """With a directory of its own, in `self.dir`."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="onebox-package-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.maxDiff = None

    def package(self, arch, *options, data=None, out="out", run=False, root=ROOT, **environment):
        """Runs cross/package of the project in `root`; the files by their suffix."""
        binary = self.dir / "program"
        binary.write_bytes(data or program({"amd64": "x86_64", "arm64": "aarch64"}.get(arch, arch)))
        binary.chmod(0o755)
        self.run_ok(root / "cross/package", arch, "--binary", binary, "--out", self.dir / out,
                    *([] if run else ["--no-run"]), *options,
                    env={"SOURCE_DATE_EPOCH": str(EPOCH), **environment})
        return {path.suffix: path for path in sorted((self.dir / out).iterdir())}

    def pages(self, suffix):
        """The packages of the pages for LuCI."""
        self.run_ok(ROOT / "cross/package", "luci", "--out", self.dir / "pages",
                    env={"SOURCE_DATE_EPOCH": str(EPOCH)})
        return sorted((self.dir / "pages").glob(f"*{suffix}"))

    def project_copy(self):
        """What packages are made of, for changes."""
        root = self.dir / "copy-of-project"
        for name in ["cross", "openwrt", "luci-app"]:
            shutil.copytree(ROOT / name, root / name)
        for name in ["Cargo.toml", "CHANGELOG.md", "README.md", "LICENSE-MIT"]:
            shutil.copy(ROOT / name, root)
        return root

    def later_package(self, arch, **options):
        """The package of the next release, with one more line in each default configuration."""
        root = self.project_copy()
        makefile = root / "openwrt/onebox/Makefile"
        makefile.write_text(makefile.read_text().replace(
            f"PKG_RELEASE:={project().release}", f"PKG_RELEASE:={project().release + 1}"))
        for name in ["openwrt/files/etc/config/onebox", "cross/debian/onebox.config"]:
            with open(root / name, "a") as config:
                config.write("# new\n")
        return self.package(arch, root=root, out="later-out", **options)

    def call(self, *command, env=None):
        done = subprocess.run([str(word) for word in command], env={**os.environ, **(env or {})},
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout

    def run_ok(self, *command, env=None):
        status, said = self.call(*command, env=env)
        self.assertEqual(status, 0, f"{command}\n{said}")
        return said

    def need(self, *tools, root=True):
        for tool in tools:
            if not shutil.which(tool):
                self.skipTest(f"{tool} is not on PATH")
        if root and os.geteuid() != 0:
            self.skipTest("not root")

    def files(self, root):
        """All that is not a directory below `root`."""
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*")
                      if path.is_symlink() or not path.is_dir())


class SystemCase(Case):
    """With copies of this system: a RAM disk lies over it, and what is written there is lost."""

    def setUp(self):
        super().setUp()
        self.need("unshare", "chroot", "mount")
        self.copy = self.dir / "copy"
        self.copy.mkdir()
        status, said = self.call("unshare", "-m", "sh", "-ec", f"{self.mounts()} true")
        if status != 0:
            self.skipTest(f"no overlay file system here: {said.strip()}")

    def mounts(self):
        return (f"mount -t tmpfs tmpfs {self.copy}; cd {self.copy}; mkdir upper work root; "
                "mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root; ")

    def inside(self, script, *files):
        """What a shell script prints in a copy, which has the files in /packages, where the script
        starts, and in /changes all that has become different. It has no network, sees no process
        but its own, and reaches no service manager."""
        file = self.dir / "script"
        file.write_text(f"set -e\ncd /packages\n{script}")
        copies = "".join(f"cp {path} root/packages/; " for path in [file, *files])
        return self.run_ok(
            "unshare", "-mnp", "--fork", "--kill-child", "sh", "-ec",
            f"{self.mounts()} mkdir root/packages root/changes; {copies}"
            "mount --bind upper root/changes; mount -t tmpfs tmpfs root/run; "
            "mount -t proc proc root/proc; mount --rbind /dev root/dev; "
            "exec chroot root /bin/sh /packages/script")
