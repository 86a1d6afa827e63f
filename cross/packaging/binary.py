"""The program that goes into a package: does it fit the architecture, is it static, which version?"""

import os
import pathlib
import platform
import shutil
import struct
import subprocess

from .project import Unusable

# By the name of the processor, which OpenWrt's architectures begin with: bytes of an address, byte
# order, ELF's number of the machine (`e_machine`), qemu's name of it.
MACHINES = {
    "aarch64": (8, "<", 183, "aarch64"),
    "arm": (4, "<", 40, "arm"),
    "i386": (4, "<", 3, "i386"),
    "loongarch64": (8, "<", 258, "loongarch64"),
    "mips": (4, ">", 8, "mips"),
    "mipsel": (4, "<", 8, "mipsel"),
    "powerpc": (4, ">", 20, "ppc"),
    "powerpc64": (8, ">", 21, "ppc64"),
    "riscv64": (8, "<", 243, "riscv64"),
    "x86_64": (8, "<", 62, "x86_64"),
}
# Segment that names a dynamic linker.
PT_INTERP = 3
# How long `--version` may take; an emulator is slow to start.
VERSION_S_MAX = 30


class Binary:
    """The program in the file `path`, for the architecture `arch` of OpenWrt."""

    def __init__(self, path: pathlib.Path, arch: str):
        self.path = path.resolve()
        self.data = path.read_bytes()
        self.machine = processor(arch)
        self.check_header(arch)

    def check_header(self, arch):
        width, order, machine, _ = MACHINES[self.machine]
        ident = b"\x7fELF" + bytes([width // 4, 1 if order == "<" else 2])
        if self.data[:6] != ident or self.number("H", 18) != machine:
            raise Unusable(f"{self.path}: no program for {arch}")
        wide = width == 8
        start = self.number("Q" if wide else "I", 32 if wide else 28)
        size, count = (self.number("H", at + (12 if wide else 0)) for at in (42, 44))
        if any(self.number("I", start + index * size) == PT_INTERP for index in range(count)):
            raise Unusable(f"{self.path}: needs shared libraries, but a package is for any system")

    def number(self, kind, at):
        order = MACHINES[self.machine][1]
        try:
            return struct.unpack_from(order + kind, self.data, at)[0]
        except struct.error:
            raise Unusable(f"{self.path}: cut short") from None

    def check_version(self, version):
        """Runs the program if this machine can; says what came of it."""
        runner = self.runner()
        if runner is None:
            return f"{self.path}: version not compared, no qemu for {self.machine} on PATH"
        command = [*runner, str(self.path), "--version"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_S_MAX)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unusable(f"{self.path}: does not run: {error}") from None
        said = done.stdout.strip()
        if done.returncode != 0 or said != f"onebox {version}":
            raise Unusable(f"{self.path}: says it is '{said}' (exit code {done.returncode}), but "
                           f"the package is 'onebox {version}'")
        return f"{self.path}: {said}"

    def runner(self):
        """The words in front of the program's path; None if it cannot be run here."""
        if platform.machine() == self.machine:
            return []
        name = MACHINES[self.machine][3]
        emulators = map(shutil.which, (f"qemu-{name}-static", f"qemu-{name}"))
        return next(([path] for path in emulators if path), None)


def processor(arch):
    name = arch if arch in MACHINES else arch.split("_")[0]
    if name not in MACHINES:
        raise Unusable(f"{arch}: unknown architecture")
    return name


def built(root, arch):
    """What cross/build makes for `arch`: the path is the last line that it prints."""
    build = root / "cross/build"
    if not os.access(build, os.X_OK):
        raise Unusable(f"{build} is not there: name the program with --binary")
    done = subprocess.run([build, arch], cwd=root, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        raise Unusable(f"cross/build {arch} has failed (exit code {done.returncode})")
    return root / lines[-1]
