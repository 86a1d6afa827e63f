# shellcheck shell=bash
# What has to be there beside Rust, as Debian's packages: tests/run and tests/demo install it.

# What a build of the tests needs: libuci is compiled, and read by bindgen. PACKAGE of COMMAND.
# shellcheck disable=SC2034 # those who read this file use it
build_needs=(cc:gcc ld:binutils c++:g++ make:make cmake:cmake clang:clang libclang:libclang-dev)

# Those of the pairs COMMAND:PACKAGE whose command is not there: missing PAIR...
missing() {
	local pair
	for pair in "$@"; do
		case "$pair" in
		libclang:*) compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null ;;
		*) command -v "${pair%%:*}" >/dev/null ;;
		esac || echo "${pair#*:}"
	done
}

# Installs packages, or says how: install_packages LOG PACKAGE...
install_packages() {
	local log=$1
	shift
	[ "$#" != 0 ] || return 0
	if ! command -v apt-get >/dev/null; then
		echo "missing, and not installed without apt-get: $*"
		return 1
	fi
	if [ "$(id -u)" != 0 ]; then
		echo "missing; as root:"
		echo "    apt-get update && apt-get install -y --no-install-recommends $*"
		return 1
	fi
	echo "installing $*"
	export DEBIAN_FRONTEND=noninteractive
	{ apt-get update && apt-get install -y --no-install-recommends "$@"; } >"$log" 2>&1 || {
		tail -5 "$log"
		echo "not all could be installed: $*"
		return 1
	}
}
