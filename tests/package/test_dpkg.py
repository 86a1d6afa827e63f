"""The package with dpkg itself, in a copy of this system that is thrown away; the unit with systemd."""

import re
import shutil

from common import ROOT, Case, SystemCase, project
from test_feed import real_program

# Of a service that is well protected; what listens on the network and routes cannot have 0.
EXPOSURE_MAX = 3.0
UNITS = [ROOT / "cross/debian" / name for name in ["onebox.service", "onebox-stop.service"]]
KEY = "/etc/onebox/private.key"
CONFIG = "/etc/config/onebox"
# What has changed outside of what dpkg and systemctl keep for themselves.
SHOW = ("(cd /changes && find . -not -type d -not -path './var/*' -not -path './packages/*' "
        "-printf '/%P %m\\n' | sort)")


class Dpkg(SystemCase):
    def setUp(self):
        self.need("dpkg")
        super().setUp()

    def deb(self):
        arch = self.run_ok("dpkg", "--print-architecture").strip()
        if arch != "amd64":
            self.skipTest("not amd64")
        # Its program stands in for ours: it prints its version, whatever it is asked.
        return self.package("amd64")[".deb"]

    def test_install(self):
        deb = self.deb()
        said = self.inside(f"""
            dpkg --force-depends -i {deb.name} > log 2>&1 || {{ cat log; exit 1; }}
            dpkg -s onebox | grep Status
            {SHOW}
            stat -c '%n %a' /etc/onebox
            systemctl is-enabled onebox.service || true
            dpkg --verify onebox
        """, deb)
        lines = said.splitlines()
        self.assertEqual(lines[0], "Status: install ok installed")
        for line in [f"{CONFIG} 600", f"{KEY} 600", "/usr/sbin/onebox 755", "/etc/onebox 700"]:
            self.assertIn(line, lines)
        self.assertTrue(any(line.endswith("/systemd/system/onebox.service 644") for line in lines))
        # Nothing is enabled, and nothing is started.
        self.assertEqual(lines[-1], "disabled")

    def test_update_keeps_key_and_changed_configuration(self):
        deb, later = self.deb(), self.later_package("amd64")[".deb"]
        said = self.inside(f"""
            dpkg --force-depends -i {deb.name} > /dev/null 2>&1
            echo key > {KEY}
            echo '# changed' >> {CONFIG}
            systemctl --quiet enable onebox.service
            dpkg --force-depends --force-confdef --force-confold -i {later.name} > /dev/null 2>&1
            cat {KEY}
            tail -n 1 {CONFIG}
            tail -n 1 {CONFIG}.dpkg-dist
            systemctl is-enabled onebox.service
            dpkg-query -W -f '${{Version}}\\n' onebox
        """, deb, later)
        self.assertEqual(said.splitlines(), ["key", "# changed", "# new", "enabled",
                         f"{project().version}-{project().release + 1}"])

    def test_remove_and_purge(self):
        deb = self.deb()
        said = self.inside(f"""
            dpkg --force-depends -i {deb.name} > /dev/null 2>&1
            systemctl --quiet enable onebox.service
            echo key > {KEY}.old
            mkdir /var/lib/onebox
            touch /var/lib/onebox/quota.json /run/onebox.history
            dpkg -r onebox > /dev/null 2>&1
            echo removed
            {SHOW}
            dpkg -P onebox > /dev/null 2>&1
            echo purged
            {SHOW}
            ls -d /etc/onebox /var/lib/onebox /run/onebox* 2> /dev/null || true
        """, deb)
        self.assertEqual(said.splitlines(), ["removed", f"{CONFIG} 600", f"{KEY} 600",
                                             f"{KEY}.old 644", "purged"])

    def test_purge_leaves_what_is_not_the_package_s(self):
        deb = self.deb()
        said = self.inside(f"""
            dpkg --force-depends -i {deb.name} > /dev/null 2>&1
            touch /etc/onebox/home.psk
            dpkg -P onebox > /dev/null 2>&1
            ls /etc/onebox
        """, deb)
        self.assertEqual(said.split(), ["home.psk"])


class Server(SystemCase):
    def test_one_command_makes_a_server_and_one_more_another_router(self):
        """With the configuration as it is installed and the real program; systemd is a stand-in."""
        onebox = real_program() or self.skipTest("onebox is not built")
        systemctl = self.dir / "systemctl"
        systemctl.write_text('#!/bin/sh\necho "systemctl $*"\n')
        systemctl.chmod(0o755)
        program = self.dir / "onebox"
        program.write_bytes(onebox.read_bytes())
        program.chmod(0o755)
        said = self.inside(f"""
            mkdir -p /run/systemd/system /etc/config /etc/systemd/system
            install -m 600 onebox.config {CONFIG}
            install onebox /usr/sbin/onebox
            mv systemctl /usr/local/bin/systemctl
            PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
            touch /etc/systemd/system/onebox.service
            onebox invite home --endpoint vps.example.net 2>&1
            onebox invite cabin 2>&1
            onebox check
            grep "list address" {CONFIG}
            stat -c '%n %a' {CONFIG} {KEY}
        """, ROOT / "cross/debian/onebox.config", systemctl, program)
        lines = said.splitlines()
        self.assertEqual(lines.count("systemctl enable --now onebox"), 1, said)
        self.assertIn("onebox: here: the service is started, and will be at each boot", lines)
        self.assertEqual(lines[-2:], [f"{CONFIG} 600", f"{KEY} 600"])
        self.assertRegex(lines[-3], r"^\tlist address 'fd[0-9a-f]{2}:[0-9a-f:]+::1/64'$")
        self.assertNotIn("fd99", said)


class Unit(Case):
    def test_exposure(self):
        self.need("systemd-analyze", root=False)
        for unit in UNITS:
            status, said = self.call("systemd-analyze", "security", "--offline=true", unit)
            found = re.search(rf"Overall exposure level for {unit.name}: ([\d.]+)", said)
            self.assertTrue(found, said)
            self.assertLessEqual(float(found[1]), EXPOSURE_MAX, said)

    def test_nothing_is_wrong(self):
        self.need("systemd-analyze", root=False)
        # The program has to be there, so the units are shown one that is.
        copies = [self.dir / unit.name for unit in UNITS]
        for unit, copy in zip(UNITS, copies):
            copy.write_text(unit.read_text().replace("/usr/sbin/onebox", shutil.which("true")))
        self.assertEqual(self.run_ok("systemd-analyze", "verify", "--man=no", *copies), "")

    def test_the_stop_may_do_no_more_than_the_service(self):
        def confinement(unit):
            service = unit.read_text().split("[Service]")[1].split("[Install]")[0]
            own = ("#", "Type", "RemainAfterExit", "Exec", "Restart=", "RestartSec", "KillMode",
                   "StateDirectory")
            return [line for line in service.splitlines() if line and not line.startswith(own)]

        self.assertEqual(confinement(UNITS[0]), confinement(UNITS[1]))
