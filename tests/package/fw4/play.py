"""Plays one firewall: argument is a file with a case, result on standard output; see ../test_fw4.py.

Runs as root in a file system and a network namespace that are its own. The router is that namespace;
each zone's host and the other end of the tunnel have one each. The rules are those that the real fw4
makes of the case's configuration and of what the real init.d/onebox gives procd, whose stand-in notes
it; the tunnel is a pair of devices one of which is called onebox0.
"""

import json
import os
import pathlib
import subprocess
import sys

PORTS = [80, 443]
SERVE = """
import socket, sys, threading
def serve(port):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    while True:
        listener.accept()[0].close()
for port in sys.argv[1:]:
    threading.Thread(target=serve, args=[int(port)]).start()
"""
# Refused by the other end's kernel is through the firewall as well, which rejects with ICMP alone here.
PROBE = """
import socket, sys, time
source, address, port, seconds = sys.argv[1:]
end = time.monotonic() + float(seconds)
while time.monotonic() < end:
    try:
        socket.create_connection((address, int(port)), 1, (source, 0)).close()
        print("open")
        break
    except OSError:
        time.sleep(0.05)
"""
RC = "busybox ash /etc/rc.common /packages/onebox"


def sh(line, **more):
    done = subprocess.run(["sh", "-ec", line], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{line}: {done.stdout}{done.stderr}")
    return done.stdout


def host(name, number):
    """A host behind the device NAME of the router: 10.NUMBER.0.2 and .3, fd00:NUMBER::2. Who has which
    hardware address is known: a tunnel does not ask its neighbours, which a firewall may not allow."""
    device = "onebox0" if name == "tunnel" else name
    near, far = f"02:00:00:00:{number:02}:01", f"02:00:00:00:{number:02}:02"
    return f"""ip netns add {name}
        ip link add {device} address {near} type veth peer name eth0 address {far} netns {name}
        ip addr add 10.{number}.0.1/24 dev {device}; ip addr add fd00:{number}::1/64 dev {device} nodad
        ip link set {device} up
        ip -n {name} link set lo up; ip -n {name} link set eth0 up
        ip -n {name} addr add 10.{number}.0.2/24 dev eth0
        ip -n {name} addr add 10.{number}.0.3/24 dev eth0
        ip -n {name} addr add fd00:{number}::2/64 dev eth0 nodad
        ip neigh add fd00:{number}::2 lladdr {far} dev {device}
        ip -n {name} neigh add fd00:{number}::1 lladdr {near} dev eth0
        ip -n {name} route add default via 10.{number}.0.1
        ip -n {name} route add default via fd00:{number}::1"""


def probe(hosts, source, target, port, expected):
    """Starts one: from `zone`, `zone6` or `zone.3` to a zone."""
    zone = source.rstrip("6").split(".")[0]
    last = 3 if source.endswith(".3") else 2
    place = "fd00:{}::{}" if source.endswith("6") else "10.{}.0.{}"
    # One that has to get through may take its time on a loaded machine.
    words = [place.format(hosts[zone], last), place.format(hosts[target], 2), str(port),
             "20" if expected else "1.5"]
    return subprocess.Popen(["ip", "netns", "exec", zone, sys.executable, "-c", PROBE, *words],
                            stdout=subprocess.PIPE, text=True)


def main():
    case = json.loads(pathlib.Path(sys.argv[1]).read_text())
    hosts = {name: number for number, name in enumerate([*case["zones"], "tunnel"], 1)}
    for name, text in case["config"].items():
        pathlib.Path("/etc/config", name).write_text(text)
    sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; ip link set lo up\n"
       + "\n".join(host(*each) for each in hosts.items()))

    sh(f"{RC} start")
    data = pathlib.Path("/var/run/procd/onebox/data").read_text()
    given = [json.loads(line) for line in data.splitlines()]
    for rule in given:
        del rule[""]
    names = [*case["zones"], *(["tunnel"] if case.get("interface") else [])]
    interfaces = [{"interface": name, "up": True, "data": {},
                   "l3_device": "onebox0" if name == "tunnel" else name} for name in names]
    files = {"service": {"onebox": {"main": {"firewall": given}}},
             "network.interface": {"interface": interfaces}}
    for name, content in files.items():
        pathlib.Path(f"{name}.json").write_text(json.dumps(content))
    rendered = subprocess.run(
        ["utpl", "-L", "/packages/lib", "-L", "/usr/share/ucode", "-S",
         "/usr/share/firewall4/main.uc"], env={**os.environ, "ACTION": "print"},
        capture_output=True, text=True)
    pathlib.Path("rules").write_text(rendered.stdout)
    sh("nft -f rules")

    listeners = [subprocess.Popen(["ip", "netns", "exec", name, sys.executable, "-c", SERVE,
                                   *map(str, PORTS)]) for name in hosts]
    try:
        probes = [(each, probe(hosts, *each)) for each in case["probes"]]
        opened = [each[:3] for each, process in probes if "open" in process.communicate()[0]]
    finally:
        for listener in listeners:
            listener.kill()
    print(json.dumps({"given": given, "opened": opened, "said": rendered.stderr,
                      "rules": rendered.stdout}))


main()
