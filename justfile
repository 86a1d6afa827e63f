# `just --list` shows these; CONTRIBUTING.md has the same commands without `just`.

# The fast check while working.
check:
    tests/check

# Every check and every test.
test:
    tests/run

# The benchmarks of bond and engine; needs root and an idle machine.
bench *OPTIONS:
    tests/bench/bond {{OPTIONS}}
    cargo bench --bench engine

# Bonding from start to end, in namespaces of this machine.
demo:
    tests/demo

# Scenarios of the simulation whose name has NAME in it, with their figures.
sim NAME:
    SIM_VERBOSE=1 cargo test --test sim {{NAME}} -- --nocapture

# The LuCI pages in a browser.
luci *NAMES:
    tests/luci/run {{NAMES}}

# A router's program for one of OpenWrt's architectures, built and checked.
cross ARCH:
    cross/check {{ARCH}}
