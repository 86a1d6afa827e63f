# shellcheck shell=bash
# What tests/run and tests/check share: parts, each with what it took, and a table of them at the end.

passed=0
failed=0
scratch=$(mktemp -d)
log=$scratch/log
spent=$scratch/spent
trap 'rm -rf "$scratch"' EXIT

# Runs COMMAND..., and writes to $spent what it took: wall, user and system seconds.
measure() (
	TIMEFORMAT='%R %U %S'
	{ time "$@" 2>&3 3>&-; } 3>&2 2>"$spent"
)

# A line of the table, and the same at once: report NAME RESULT [SPENT].
report() {
	local wall=0 user=0 system=0
	read -r wall user system <"${3:-$spent}"
	awk -v name="$1" -v result="$2" -v wall="$wall" -v u="$user" -v s="$system" \
		'BEGIN { printf "%-7s %7.1f s  %7.1f s  %s\n", result, wall, u + s, name }' |
		tee -a "$scratch/table"
}

# One check that either holds or does not: check NAME COMMAND...
check() {
	local name=$1
	shift
	if measure "$@" >"$log" 2>&1; then
		passed=$((passed + 1))
		report "$name" ok
	else
		failed=$((failed + 1))
		cat "$log"
		report "$name" FAILED
	fi
}

# What each part took, the longest first.
table() {
	echo "result       wall  processor  part"
	sort -rnk 2 "$scratch/table"
	awk '{ wall += $2; processor += $4 } END {
		printf "        %7.1f s  %7.1f s  all, had they come one after the other\n", wall, processor
	}' "$scratch/table"
}

# Of the standard library the pure crate uses nothing that reaches outside.
core_is_pure() {
	! grep -rnE '\bstd::(env|fs|io|net::(Tcp|Udp)|os|process|thread)\b' crates/core/src
}
