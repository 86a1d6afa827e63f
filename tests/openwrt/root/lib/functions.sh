# Stand-in for OpenWrt's functions.sh: /etc/config read with awk, one value a line, which is all
# that a script under test asks for.
# shellcheck shell=sh disable=SC2013,SC2034,SC2154,SC3043

config_load() { CONFIG_PACKAGE=$1; }

# config_foreach FUNCTION TYPE ARGUMENTS...: for every section of a type
config_foreach() {
	local call="$1" type="$2" section
	shift 2
	for section in $(awk -v type="$type" '{ gsub(/["\047]/, "") }
		$1 == "config" && $2 == type { print $3 }' "/etc/config/$CONFIG_PACKAGE"); do
		"$call" "$section" "$@"
	done
}

# config_get VARIABLE SECTION OPTION DEFAULT
config_get() {
	local found
	found=$(awk -v section="$2" -v option="$3" '{ gsub(/["\047]/, "") }
		$1 == "config" { inside = $3 == section }
		inside && $1 == "option" && $2 == option { value = $3 }
		END { print value }' "/etc/config/$CONFIG_PACKAGE")
	eval "$1=\${found:-\$4}"
}

user_exists() { grep -qs "^$1:" /etc/passwd; }

# uci_load_validate PACKAGE TYPE SECTION FUNCTION OPTION:TYPE:DEFAULT...: the types that occur
uci_load_validate() {
	local section="$3" call="$4" spec option rest type default value valid=0
	shift 4
	for spec in "$@"; do
		option=${spec%%:*}
		rest=${spec#*:}
		type=${rest%%:*}
		default=${rest#"$type"}
		config_get value "$section" "$option" "${default#:}"
		case "$type:$value" in
			bool:[01] | string:* | 'or('*"\"$value\""*) ;;
			port:*[!0-9]* | port: | bool:* | 'or('*) valid=1 ;;
		esac
		eval "$option=\$value"
	done
	[ -z "$call" ] || "$call" "$section" "$valid"
}
