#!/bin/sh
# The protocol 'onebox' of /etc/config/network: an interface whose addresses and routes are those of
# the tunnel. The daemon runs under procd (/etc/init.d/onebox) and tells netifd itself when the
# tunnel carries traffic and when not; its option 'netifd' names the interface. Here it is only
# told that the interface is wanted. Where nobody would hear it, the interface goes down with an error;
# the daemon takes it up again when it starts.
# shellcheck disable=SC3043 # ash knows local
# shellcheck disable=SC2034 # the flags are for init_proto

[ -n "$INCLUDE_ONLY" ] || {
	# shellcheck source=/dev/null
	. /lib/functions.sh
	# shellcheck source=/dev/null
	. ../netifd-proto.sh
	init_proto "$@"
}

proto_onebox_init_config() {
	no_device=1
	available=1
	no_proto_task=1
	# After a crash the device is gone, and nobody tells.
	teardown_on_l3_link_down=1
	proto_config_add_defaults
}

proto_onebox_setup() {
	local interface="$1" error=''

	if [ "$(uci -q get 'onebox.@onebox[0].netifd')" != "$interface" ]; then
		error=NOT_NAMED
	elif [ "$(uci -q get 'onebox.@onebox[0].enabled')" = 0 ]; then
		error=SWITCHED_OFF
	elif ! ubus list onebox > /dev/null 2>&1; then
		error=NOT_RUNNING
	fi
	if [ -n "$error" ]; then
		proto_notify_error "$interface" "$error"
		proto_block_restart "$interface"
		proto_setup_failed "$interface"
		return 1
	fi
	ubus send onebox.setup "{ \"interface\": \"$interface\" }"
}

# netifd takes addresses, routes and name servers back.
proto_onebox_teardown() {
	return 0
}

[ -n "$INCLUDE_ONLY" ] || add_protocol onebox
