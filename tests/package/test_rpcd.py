"""The pages' rights in rpcd itself: what a login that has them may call, and what not.

`ubusd`, `ubus` and `rpcd` have to be on PATH, and rpcd built for `/usr`, as OpenWrt has it. All
of it runs in a copy of this system, with the installed packages, a login that may only look and one
that may also change. The program runs too, switched off: it answers on the bus and touches nothing.
"""

import json
import re

from common import ROOT, SystemCase, project
from packaging import contents, ipk
from test_feed import real_program

ACL = ROOT / "luci-app/luci-app-onebox/root/usr/share/rpcd/acl.d/luci-app-onebox.json"
DAEMON = ROOT / "luci-app/luci-app-onebox/htdocs/luci-static/resources/onebox/daemon.js"
# Makes what the package manager, the base system and the network would have made, and runs it all.
PREPARE = """
for file in *.ipk; do tar -xzOf $file ./data.tar.gz | tar -xz --keep-directory-symlink -C /; done
mkdir -p /var/run/ubus /etc/onebox
# Says whether the service runs, and writes down what it is told.
cat > /etc/rc.common <<- 'SH'
	#!/bin/sh
	[ "$2" != running ] || exec test -e /running
	echo "$2" >> /told
SH
chmod 755 /etc/rc.common
# LuCI's reader of JSON, as far as it is needed.
command -v jsonfilter > /dev/null || {
	cat > /usr/bin/jsonfilter <<- 'PY'
		#!/usr/bin/python3
		import json, sys
		value = json.load(sys.stdin).get(sys.argv[2][2:])
		print(str(value).lower() if isinstance(value, bool) else value or "")
	PY
	chmod 755 /usr/bin/jsonfilter
}
cat > /etc/config/rpcd <<- 'UCI'
	config login
		option username 'reader'
		option password '$5$onebox$I3OxaDKULw/79J8gwtjm6fUSLUCQ2HfrHRJO4xwyLl4'
		list read 'luci-app-onebox'
	config login
		option username 'owner'
		option password '$5$onebox$I3OxaDKULw/79J8gwtjm6fUSLUCQ2HfrHRJO4xwyLl4'
		list read 'luci-app-onebox'
		list write 'luci-app-onebox'
UCI
echo "config secret 'other'" > /etc/config/network
onebox genkey > /etc/onebox/private.key
onebox genkey > /etc/onebox/other.key

ubusd 2> /ubusd.log &
timeout 20 sh -c 'until ubus list > /dev/null 2>&1; do sleep 0.05; done'
onebox start 2> /onebox.log &
rpcd 2> /rpcd.log &
ubus -t 20 wait_for onebox rc session uci luci.onebox || { cat /*.log; exit 1; }

login() {
	ubus call session login "{\\"username\\":\\"$1\\",\\"password\\":\\"password\\"}" |
		sed -n 's/.*"ubus_rpc_session": "\\(.*\\)".*/\\1/p'
}

# What the door to the web asks before it passes a call on.
may() {
	ubus call session access "{\\"ubus_rpc_session\\":\\"$1\\",\\"scope\\":\\"$2\\",\\"object\\":\\"$3\\",\\"function\\":\\"$4\\"}" |
		grep -q '"access": true' && echo "may $2 $3 $4" || true
}

# Everything that is on the bus.
methods() {
	ubus -v list | awk -F "[\\"']" '/^\\047/ { object = $2 } /^\\t"/ { print object, $2 }'
}

# A call in the name of a session; what it says, if it is not refused.
as() {
	session=$1
	shift
	if answer=$(ubus call "$1" "$2" "{\\"ubus_rpc_session\\":\\"$session\\"${3:+,$3}}" 2> /dev/null); then
		echo "$answer" | tr -d '\\n\\t'
		echo
	else
		echo "refused"
	fi
}
"""


class Rpcd(SystemCase):
    def setUp(self):
        super().setUp()
        self.need("ubusd", "ubus", "rpcd")
        program = real_program() or self.skipTest("onebox is not built")
        pages = next(contents.luci(project()))
        self.files = []
        for package in [contents.openwrt(project(), program.read_bytes(), "x86_64"), pages]:
            name, data = ipk.pack_up(project(), package)
            self.files.append(self.dir / name)
            self.files[-1].write_bytes(data)

    def run_inside(self, script):
        said = self.inside(f"{PREPARE}\n{script}\n", *self.files)
        return said.splitlines()

    def rights(self, *groups):
        acl = json.loads(ACL.read_text())["luci-app-onebox"]
        found = set()
        for group, function in groups:
            found |= {f"may ubus {name} {method}" for name, methods in acl[group]["ubus"].items()
                      for method in methods}
            found |= {f"may uci {name} {function}" for name in acl[group]["uci"]}
        return found

    def test_a_login_may_what_the_pages_call_and_nothing_else(self):
        calls = set(re.findall(r"\bcall\('([\w.]+)', '(\w+)'", DAEMON.read_text()))
        ask = "\n".join(f"may $1 ubus {name} {method}" for name, method in sorted(calls))
        said = self.run_inside(f"""
            rights() {{
                methods | while read -r object method; do may $1 ubus $object $method; done
                {ask}
                for name in onebox network rpcd '*'; do
                    may $1 uci "$name" read
                    may $1 uci "$name" write
                done
                for function in read write exec list stat; do
                    may $1 file /etc/onebox/private.key $function
                    may $1 file /etc/config/onebox $function
                    may $1 file /usr/sbin/onebox $function
                done
            }}
            methods | wc -l
            for user in reader owner; do echo "user $user"; rights $(login $user); done
        """)
        # All of rpcd's own are there to be asked about, and the program's.
        self.assertGreater(int(said[0]), 30)
        at = said.index("user owner")
        reader, owner = set(said[2:at]), set(said[at + 1:])
        self.assertEqual(reader, self.rights(("read", "read")))
        self.assertEqual(owner, self.rights(("read", "read"), ("write", "write")))
        self.assertLessEqual({f"may ubus {name} {method}" for name, method in calls}, owner)

    def test_what_the_pages_call_answers(self):
        said = self.run_inside("""
            touch /running
            owner=$(login owner)
            as $owner onebox status
            as $owner onebox history '"since":0'
            as $owner onebox events '"since":0'
            as $owner rc list '"name":"onebox"'
            as $owner luci.onebox check
            as $owner luci.onebox log
            as $owner luci.onebox pubkey
            as $owner luci.onebox genpsk
            as $owner luci.onebox describe '"code":"onebox1-nonsense"'
            as $owner luci.onebox join '"code":"onebox1-nonsense","force":false'
            as $owner uci get '"config":"onebox","section":"main","option":"role"'
            as $owner rc init '"name":"onebox","action":"restart"'
            cat /told
            as $owner luci.onebox genkey
            stat -c %a /etc/onebox/private.key
            ls /etc/onebox
        """)
        answers = [json.loads(line) for line in said[:11]]
        status, history, events, services, check, log, public, secret, code, join, role = answers
        self.assertEqual((status["state"], status["role"]), ("disabled", "client"))
        self.assertEqual(history["series"][0]["wan"], "")
        self.assertEqual(events, {"events": []})
        self.assertEqual((services["onebox"]["start"], services["onebox"]["running"]), (90, True))
        self.assertIn("usable", check)
        self.assertIn("lines", log)
        self.assertRegex(public["public_key"], r"^[A-Za-z0-9+/]{43}=$")
        self.assertRegex(secret["key"], r"^[A-Za-z0-9+/]{43}=$")
        self.assertTrue(code["error"] and join["error"])
        self.assertEqual(role, {"value": "client"})
        self.assertEqual(said[11:13], ["", "restart"])
        self.assertNotEqual(json.loads(said[13]), public)
        self.assertEqual(said[14:], ["600", "other.key", "private.key", "private.key.old"])

    def test_a_change_stays_if_it_is_confirmed(self):
        said = self.run_inside("""
            owner=$(login owner)
            change() {
                as $owner uci set "\\"config\\":\\"onebox\\",\\"section\\":\\"main\\",\\"values\\":{\\"discover\\":\\"$1\\"}"
                as $owner uci apply "\\"timeout\\":$2,\\"rollback\\":true"
                grep discover /etc/config/onebox
            }
            change 0 15
            as $owner uci confirm
            change 1 2
            timeout 20 sh -c 'until grep -q "discover .0" /etc/config/onebox; do sleep 0.1; done'
            as $owner uci confirm
            grep discover /etc/config/onebox
        """)
        discover = lambda value: f"\toption discover '{value}'"
        self.assertEqual(said, ["", "", discover(0), "", "", "", discover(1), "refused", discover(0)])

    def test_what_is_not_the_pages_is_refused(self):
        said = self.run_inside("""
            for user in reader owner; do
                session=$(login $user)
                as $session uci get '"config":"network"'
                as $session uci set '"config":"network","section":"other","values":{"a":"1"}'
                ! ubus list file > /dev/null 2>&1 || as $session file read '"path":"/etc/onebox/private.key"'
            done
            as $(login reader) uci set '"config":"onebox","section":"main","values":{"enabled":"1"}'
            as 00000000000000000000000000000000 uci get '"config":"onebox"'
            as $(login owner) uci set '"config":"onebox","section":"main","values":{"enabled":"1"}'
            as $(login owner) uci changes '"config":"onebox"'
        """)
        self.assertEqual(set(said[:-2]), {"refused"})
        self.assertGreaterEqual(len(said), 8)
        self.assertEqual(said[-2], "")
