# Stand-in for procd and its procd.sh. A service is a folder in /var/run/procd: its command, user,
# capabilities, the checksum of its files, and the pid of who starts it again and again. What goes
# to the firewall is written to /var/run/procd/NAME/data, a rule a line.
# shellcheck shell=sh disable=SC2086,SC2154,SC3043

service=/var/run/procd/$name

procd_open_service() {
	rm -rf "$service.new"
	mkdir -p "$service.new"
}

procd_open_instance() { :; }
procd_close_instance() { :; }
procd_open_data() { : > "$service.new/data"; }
procd_close_data() { :; }
procd_add_reload_trigger() { echo "$*" > "$service.new/triggers"; }
procd_add_validation() { :; }
procd_set_config_changed() { echo "$1" >> /var/run/procd/changed; }
procd_add_jail() { echo "$1" > "$service.new/jail"; }
json_add_array() { :; }
json_close_array() { :; }
json_add_object() { printf '{ "": ""' >> "$service.new/data"; }
json_close_object() { echo ' }' >> "$service.new/data"; }
json_add_string() { printf ', "%s": "%s"' "$1" "$2" >> "$service.new/data"; }

procd_set_param() {
	local key="$1"
	shift
	case "$key" in
		file) md5sum "$@" > "$service.new/file" ;;
		*) echo "$*" > "$service.new/$key" ;;
	esac
}

running() { [ -s "$service/pid" ] && kill -0 "$(cat "$service/pid")" 2> /dev/null; }

# An instance that runs gets the signal if anything is another now, and none if nothing is.
procd_close_service() {
	service_triggers
	if [ ! -f "$service.new/command" ]; then
		rm -rf "$service.new"
		procd_kill
	elif running; then
		for file in "$service.new"/*; do
			cmp -s "$file" "$service/${file##*/}" || case "${file##*/}" in
				data) echo firewall >> /var/run/procd/data-changed ;;
				*) changed=1 ;;
			esac
			mv "$file" "$service/"
		done
		rmdir "$service.new"
		[ -z "$changed" ] || kill -s "$(cat "$service/reload_signal")" "$(cat "$service/pid")"
	else
		rm -rf "$service"
		mv "$service.new" "$service"
		# `exec`, or the shell would keep the outputs of who has called.
		(
			exec < /dev/null > /dev/null 2>&1
			supervise
		) &
	fi
}

# Starts it again, a second after its end and without end, as long as its folder is there.
supervise() {
	local command
	command=$(cat "$service/command")
	while [ -d "$service" ]; do
		if [ -f "$service/jail" ]; then
			/sbin/ujail -n "$(cat "$service/jail")" -U "$(cat "$service/user")" \
				-G "$(cat "$service/group")" -C "$(cat "$service/capabilities")" -c -- \
				$command 2>> /var/log/onebox &
		else
			$command 2>> /var/log/onebox &
		fi
		echo $! > "$service/pid"
		wait $!
		sleep 1
	done
}

procd_kill() {
	local pid
	pid=$(cat "$service/pid" 2> /dev/null)
	rm -rf "$service"
	[ -z "$pid" ] || kill "$pid" 2> /dev/null
	return 0
}

procd_status() {
	if running; then
		echo running
	else
		echo inactive
		return 3
	fi
}
