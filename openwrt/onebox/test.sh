#!/bin/sh
# What the build system's tests run after the installation: test.sh PACKAGE VERSION
set -e

[ "$1" = onebox ] || exit 0

onebox --version | grep -qxF "onebox $2"

# Keys have 32 bytes, and the public half follows from the private one.
private=$(onebox genkey)
[ "${#private}" = 44 ]
[ "$(echo "$private" | onebox pubkey)" = "$(echo "$private" | onebox pubkey)" ]

# As shipped the service is off; no key and no peer is no mistake then.
onebox check -c /etc/config/onebox

# A mistake is told with its line.
config=$(mktemp)
trap 'rm -f "$config"' EXIT
printf "config onebox 'main'\n\toption enabled 'perhaps'\n" > "$config"
if onebox check -c "$config" > "$config.out"; then
	exit 1
fi
grep -qF "$config:2:" "$config.out"
rm "$config.out"
