"""What reaches the tunnel and what comes out of it with OpenWrt's own firewall: packets from each
zone, through the rules that the real fw4 makes of its configuration and of the service's.

`FW4` names a clone of firewall4; `utpl`, of ucode with its modules fs, uci and ubus, has to be on PATH.
"""

import json
import os
import pathlib
import sys

from common import ROOT, SystemCase

HERE = pathlib.Path(__file__).resolve().parent / "fw4"
DEFAULTS = """
config defaults
	option input REJECT
	option output ACCEPT
	option forward REJECT
"""
# As OpenWrt has them, and guests of four kinds.
ZONES = ["lan", "guest", "closed", "limited", "six", "wan"]
HOME = DEFAULTS + """
config zone
	option name lan
	list network 'lan'
	option input ACCEPT
	option output ACCEPT
	option forward ACCEPT

config zone 'wan'
	option name 'wan'
	list network "wan"
	list network 'wan6'
	option input REJECT
	option output ACCEPT
	option forward DROP
	option masq 1

config forwarding
	option src lan
	option dest wan

config zone
	option name guest
	option network 'guest'
config forwarding
	option src guest
	option dest wan
config zone
	option name closed
	option network closed
config forwarding
	option enabled '0'
	option src closed
	option dest wan
config zone
	option name limited
	option network limited
config rule
	option name 'Only the web, encrypted'
	option src limited
	option dest wan
	option proto tcp
	option dest_port 443
	option target ACCEPT
config zone
	option name six
	option network six
config forwarding
	option src six
	option dest wan
	option family ipv6

config rule
	option name 'Homework'
	option src lan
	option dest wan
	option proto all
	list src_ip '10.1.0.3'
	list src_ip '10.1.0.4'
	option target REJECT
"""
ROUTER = """
config onebox main
	option enabled 1
config wan 'wan'
	option device 'wan'
"""
SERVER = ROUTER.replace("enabled 1", "enabled 1\n\toption role server")


class Fw4(SystemCase):
    def setUp(self):
        super().setUp()
        self.need("utpl", "nft", "ip", "busybox", "tar")
        self.fw4 = os.environ.get("FW4")
        if not self.fw4:
            self.skipTest("FW4 does not name a clone of firewall4")

    def play(self, probes, onebox=ROUTER, firewall=HOME, zones=ZONES, network="", **more):
        """`probes`: for each way between hosts, which of 80 and 443 have to be open."""
        wanted = [[*way.split(" to "), port, port in ports]
                  for way, ports in probes.items() for port in [80, 443]]
        case = {"zones": zones, "probes": wanted, **more,
                "config": {"onebox": onebox, "firewall": firewall, "network": network}}
        (self.dir / "case.json").write_text(json.dumps(case))
        said = self.inside(
            f"untar() {{ tar -C \"$1\" -c . | tar -x --keep-directory-symlink -C /; }}\n"
            f"untar {self.fw4}/root; untar {ROOT}/tests/openwrt/root\n"
            f"mkdir -p /run/lock /var/run/procd /packages/lib /etc/config /usr/sbin\n"
            f"mkdir -p /var/run; cp {HERE}/ubus.uc /packages/lib; cp {ROOT}/init.d/onebox /packages\n"
            "printf '#!/bin/sh\\nexec sleep 100\\n' > /usr/sbin/onebox; chmod 755 /usr/sbin/onebox\n"
            f"cp {HERE}/play.py .; {sys.executable} play.py case.json", self.dir / "case.json")
        result = json.loads(said.splitlines()[-1])
        opened = {way: [port for port in [80, 443] if [*way.split(" to "), port] in result["opened"]]
                  for way in probes}
        self.assertEqual(opened, probes, result["given"])
        self.assertNotIn("onebox", result["said"])
        return result

    def test_a_zone_reaches_the_tunnel_as_it_reaches_the_internet(self):
        self.play({"lan to tunnel": [80, 443], "lan6 to tunnel": [80, 443],
                   "guest to tunnel": [80, 443], "closed to tunnel": [], "closed6 to tunnel": [],
                   "limited to tunnel": [443], "six to tunnel": [], "six6 to tunnel": [80, 443],
                   "lan.3 to tunnel": [], "wan to tunnel": [], "wan6 to tunnel": [],
                   "tunnel to lan": [], "tunnel to wan": []})

    def test_on_a_server_routers_reach_the_internet_alone(self):
        self.play({"tunnel to wan": [80, 443], "tunnel6 to wan": [80, 443], "tunnel to lan": [],
                   "tunnel to guest": [], "tunnel6 to closed": [], "lan to tunnel": [80, 443],
                   "closed to tunnel": [], "wan to tunnel": [], "wan6 to tunnel": []}, SERVER)

    def test_the_zone_of_an_interface_decides(self):
        interface = HOME.replace("list network 'wan6'", "list network 'tunnel'")
        for onebox in [ROUTER, SERVER]:
            onebox = onebox.replace("enabled 1", "enabled 1\n\toption netifd tunnel")
            ways = {"lan to tunnel": [80, 443], "limited to tunnel": [443], "six6 to tunnel": [80, 443],
                    "closed to tunnel": [], "wan to tunnel": [], "lan.3 to tunnel": [],
                    "tunnel to wan": [], "tunnel to lan": []}
            result = self.play(ways, onebox, interface, interface=True)
            self.assertEqual(len(result["given"]), onebox.count("server"))

    def test_wans_are_told_by_the_configuration_else_by_masquerading(self):
        def zone(name, forwards_to="", masq=0):
            text = f"config zone\n\toption name {name}\n\tlist network {name}\n\toption masq {masq}\n"
            if forwards_to:
                text += f"config forwarding\n\toption src {name}\n\toption dest '{forwards_to}'\n"
            return text

        names = ["lan", "office", "vpn", "red", "blue"]
        zones = "".join([zone("lan", "red"), zone("office", "*"), zone("vpn", "red", 1),
                         zone("red", masq=1), zone("blue", "*")])
        red = ROUTER.replace("option device 'wan'", "option device 'eth7'")
        network = "config interface red\n\toption device 'eth7'\n"
        everyone = [80, 443]
        self.play({"lan to tunnel": everyone, "office to tunnel": everyone, "vpn to tunnel": everyone,
                   "red to tunnel": [], "blue to tunnel": everyone},
                  red, DEFAULTS + zones, names, network)
        # Without a WAN that is named, one of a VPN that translates addresses may be one.
        self.play({"lan to tunnel": everyone, "office to tunnel": everyone, "vpn to tunnel": [],
                   "red to tunnel": []}, red, DEFAULTS + zones, names)

    def test_a_firewall_that_forwards_all_does_not_let_a_wan_in(self):
        everything = HOME.replace("option forward REJECT", "option forward ACCEPT")
        self.play({"lan to tunnel": [80, 443], "lan.3 to tunnel": [], "wan to tunnel": [],
                   "wan6 to tunnel": []}, firewall=everything)

    def test_without_zones_nothing_is_allowed(self):
        result = self.play({"lan to tunnel": []}, firewall=DEFAULTS)
        self.assertEqual(result["given"], [])
