"""The units with systemd itself as a system's first process: in a copy of this system that is thrown
away, with a network of its own, in which a router with a kill switch has one WAN and no server.

Limits: the network does not answer, so no tunnel comes up; what the kill switch holds back is read from
the routes."""

from common import ROOT, SystemCase
from test_feed import real_program

CONFIG = """\
config onebox 'main'
\toption role 'client'
\toption private_key_file '/etc/onebox/private.key'
\tlist address '10.99.0.2/24'
\toption kill_switch '1'

config peer 'vps'
\toption public_key 'w3nbidt+rQScc0/ns1nFjAvQzMlDleD4pMHaFLwun2M='
\tlist endpoint '198.51.100.1:51830'
\tlist allowed_ips '0.0.0.0/0'
"""
# The only unit of this system's that is not systemd's own: it does all, and ends the system.
PLAY = """\
[Unit]
SuccessAction=exit-force
FailureAction=exit-force

[Service]
Type=oneshot
ExecStart=/bin/bash /packages/play
StandardOutput=file:/packages/said
StandardError=file:/packages/said
TimeoutStartSec=100
"""
START = """
cd /packages
soon() { local n; for n in $(seq 300); do "$@" > /dev/null 2>&1 && return; sleep 0.1; done; echo "not: $*"; }
state() { systemctl is-active onebox || true; }
is() { [ "$(systemctl show -p SubState --value onebox)" = "$1" ]; }
barred() { ip route show table 51 | grep -q '^unreachable default'; }
bar() { if barred; then echo barred; else echo open; fi; }
left() { ip rule | grep -c 'lookup 51' ; nft list tables | grep -c onebox; ip -br link | grep -c onebox0; }
crash() { kill -9 "$(systemctl show -p MainPID --value onebox)"; soon is auto-restart; }
ip link add wan type veth peer name isp
ip address add 10.1.0.2/24 dev wan
ip link set wan up
ip link set isp up
ip route add default via 10.1.0.1 dev wan
umask 077
mkdir -p /etc/onebox /etc/config
onebox genkey > /etc/onebox/private.key
cp configuration /etc/config/onebox
systemctl enable --now onebox
soon barred
"""


class Systemd(SystemCase):
    def setUp(self):
        self.need("systemd-nspawn", "nft", "ip", "bash")
        super().setUp()
        self.onebox = real_program() or self.skipTest("onebox is not built")

    def play(self, script):
        """The lines that a script prints, run by systemd with the service started before it."""
        for name, text in [("play.service", PLAY), ("play", START + script),
                           ("configuration", CONFIG)]:
            (self.dir / name).write_text(text)
        packages = [self.dir / "play", self.dir / "configuration"]
        units = [self.dir / "play.service", *sorted((ROOT / "cross/debian").glob("*.service"))]
        copies = "".join(f"cp {path} root/{where}/; " for where, paths in
                         [("packages", packages), ("etc/systemd/system", units)]
                         for path in paths)
        status, said = self.call(
            "timeout", "-k", "5", "120", "unshare", "-m", "sh", "-ec",
            f"{self.mounts()} mkdir root/packages; "
            # Nothing of what this system does at boot.
            "rm -rf root/etc/systemd/system root/etc/fstab root/etc/crypttab root/var/log/journal; "
            f"mkdir -p root/etc/systemd/system; {copies}"
            f"install {self.onebox} root/usr/sbin/onebox; "
            "systemd-nspawn --quiet --keep-unit --register=no -M onebox-test -D root "
            "--private-network --bind=/dev/net/tun --capability=CAP_NET_ADMIN,CAP_NET_RAW "
            "--console=pipe --boot systemd.unit=play.service > boot 2>&1 || true; "
            "cat root/packages/said 2> /dev/null || { tail -n 3 boot; exit 9; }")
        if status == 9:
            self.skipTest(f"systemd does not boot here: {said.strip()}")
        return [line for line in said.splitlines() if not line.startswith("Created symlink")]

    def test_a_restart_keeps_the_kill_switch_and_a_stop_leaves_nothing(self):
        said = self.play("""
            ip monitor route > changes &
            watcher=$!
            pid=$(systemctl show -p MainPID --value onebox)
            systemctl restart onebox
            [ "$pid" != "$(systemctl show -p MainPID --value onebox)" ] && echo another
            soon grep -q onebox0 changes
            kill "$watcher"
            grep -c '^Deleted unreachable default' changes
            soon ip link show onebox0
            systemctl stop onebox
            state
            bar
            left
        """)
        self.assertEqual(said, ["another", "0", "inactive", "open", "0", "0", "0"])

    def test_after_a_crash_a_stop_leaves_nothing(self):
        said = self.play("""
            crash
            bar
            soon is running
            soon ip link show onebox0
            bar
            crash
            systemctl stop onebox
            bar
            left
        """)
        self.assertEqual(said, ["barred", "barred", "open", "0", "0", "0"])

    def test_the_stop_of_the_command_line_is_an_end(self):
        said = self.play("""
            onebox stop
            soon is dead
            # Longer than the pause before a start.
            sleep 3
            state
            left
            systemctl start onebox
            soon barred
            systemctl stop onebox
            bar
        """)
        self.assertEqual(said, ["inactive", "0", "0", "0", "open"])

    def test_a_file_with_mistakes_fails_the_reload_and_is_an_error_in_the_journal(self):
        said = self.play("""
            echo "config wan 'dsl'" >> /etc/config/onebox
            echo "	option device 'dsl'" >> /etc/config/onebox
            echo "	option mode 'of'" >> /etc/config/onebox
            systemctl reload onebox 2> /dev/null && echo taken
            state
            kill -HUP "$(systemctl show -p MainPID --value onebox)"
            soon eval "journalctl -u onebox -p err -o cat | grep \\"option 'mode'\\""
            sed -i "s/'of'/'off'/" /etc/config/onebox
            systemctl reload onebox && echo taken
        """)
        self.assertEqual(said, ["active", "taken"])
