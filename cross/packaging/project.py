"""What the project says of itself: version, release, description, licence, time."""

import os
import pathlib
import re
import subprocess
import tomllib

MAINTAINER = "The onebox authors <maintainers@onebox.example>"
URL = "https://onebox.example/"
TITLE = "Several internet connections, one tunnel"
# What has to be there beside the static program: TUN, `nft`, which it runs, and what of the kernel its
# rules use, which is not everywhere where the firewall is not fw4.
OPENWRT_DEPENDS = ["kmod-nft-core", "kmod-nft-fib", "kmod-nft-nat", "kmod-tun", "nftables"]
DEBIAN_DEPENDS = ["nftables"]
# User and group of the service, made by the default scripts of OpenWrt.
OPENWRT_USER = "onebox:onebox"


class Unusable(Exception):
    """No package can be made of this."""


class Project:
    """The project in `root`."""

    def __init__(self, root: pathlib.Path):
        manifest = tomllib.loads((root / "Cargo.toml").read_text())
        # Of the whole workspace, unless the program has its own.
        package = manifest["workspace"]["package"] | {
            key: value for key, value in manifest["package"].items() if not isinstance(value, dict)
        }
        makefile = (root / "openwrt/onebox/Makefile").read_text()
        self.root = root
        self.version = package["version"]
        self.release = int(re.search(r"^PKG_RELEASE:=(\d+)$", makefile, re.M)[1])
        self.description = package["description"]
        self.license = package["license"]
        self.epoch = epoch(root)

    def ipk_version(self):
        """`0.1.0-r1`, `0.1.0~beta1-r1`"""
        return f"{self.number('~')}-r{self.release}"

    def apk_version(self):
        """`0.1.0-r1`, `0.1.0_beta1-r1`"""
        return f"{self.number('_')}-r{self.release}"

    def deb_version(self):
        """`0.1.0-1`, `0.1.0~beta1-1`"""
        return f"{self.number('~')}-{self.release}"

    def number(self, early):
        """Cargo's version, with what makes an early one sort before its release."""
        match = re.fullmatch(r"(\d+\.\d+\.\d+)(?:-(alpha|beta|pre|rc)\.?(\d*))?", self.version)
        if not match:
            raise Unusable(f"{self.version}: no version that every package format can express")
        number, kind, count = match.groups()
        return f"{number}{early}{kind}{count}" if kind else number


def epoch(root):
    """The time that everything in a package has, in seconds since 1970."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    git = ["git", "-C", str(root), "log", "-1", "--format=%ct"]
    try:
        return int(subprocess.run(git, check=True, capture_output=True, text=True).stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 0
