# Stand-in for OpenWrt's functions.sh: /etc/config read with awk, which is all that a script under
# test asks for. As there, options of one file stay when another is read, unless the section of that
# name has them too, and the values of a list stand in a line.
# shellcheck shell=sh disable=SC2034,SC2154,SC3043

config_load() {
	local lines
	CONFIG_SECTIONS=
	lines=$(awk '
		function quoted(text) { gsub(/\047/, "\047\\\047\047", text); return "\047" text "\047" }
		{ sub(/^[ \t]+/, ""); line = $0; kind = $1; word = $2; gsub(/["\047]/, "", word) }
		kind == "config" {
			name = $3; gsub(/["\047]/, "", name)
			if (name == "") name = "cfg" ++anonymous
			print "CONFIG_SECTIONS=\"$CONFIG_SECTIONS " name "\"; CONFIG_" name "_TYPE=" word
			split("", seen)
		}
		kind == "option" || kind == "list" {
			sub(/^[a-z]+[ \t]+[^ \t]+[ \t]+/, "", line); sub(/[ \t]+$/, "", line)
			if (line ~ /^["\047].*["\047]$/) line = substr(line, 2, length(line) - 2)
			variable = "CONFIG_" name "_" word
			if (kind == "list" && word in seen) line = seen[word] " " line
			seen[word] = line
			print variable "=" quoted(line)
		}' "/etc/config/$1" 2> /dev/null)
	eval "$lines"
}

# config_foreach FUNCTION TYPE ARGUMENTS...: for every section of a type
config_foreach() {
	local call="$1" type="$2" section is
	shift 2
	for section in $CONFIG_SECTIONS; do
		config_get is "$section" TYPE
		[ "$is" != "$type" ] || "$call" "$section" "$@"
	done
}

# config_get VARIABLE SECTION OPTION DEFAULT
config_get() { eval "$1=\${CONFIG_${2}_${3}:-\$4}"; }

config_get_bool() {
	config_get "$@"
	eval "set -- $1 \"\$$1\" \"$4\""
	case "$2" in
		1 | on | true | yes | enabled) eval "$1=1" ;;
		0 | off | false | no | disabled) eval "$1=0" ;;
		*) eval "$1=$3" ;;
	esac
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
