#!/bin/sh
# The one test command: gets the real peers if it may, builds, runs every test of the workspace, and says what was skipped.
#
#   ./interop-tests/run.sh                 everything
#   ./interop-tests/run.sh kamailio        arguments go to cargo test: here the file tests/kamailio.rs alone
#   ./interop-tests/run.sh lcs             likewise sametime, unified_cm, islands: peers that are emulated, which need nothing installed
#   ./interop-tests/run.sh probe           what trestle peer probe finds out: of emulated peers, hostile ones, and a real Kamailio
#   TRESTLE_LOGS=1 ./interop-tests/run.sh  with the logs of both sides of each federation scenario
#
# As root on a Debian or Ubuntu it installs the peers with apt-get (TRESTLE_INSTALL=0 forbids it). Everything runs on
# loopback addresses. With CI set, a skipped test is a failure.
set -eu
cd "$(dirname "$0")/.."
packages="kamailio kamailio-presence-modules kamailio-tls-modules sip-tester sipsak baresip-core sofia-sip-bin tshark libpurple0 pidgin-sipe haproxy openssl"

say() { echo "== $*"; }

missing=""
for pair in kamailio:kamailio sipp:sip-tester sipsak:sipsak baresip:baresip-core sip-options:sofia-sip-bin tshark:tshark haproxy:haproxy openssl:openssl; do
    PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
# The modules are packages of their own.
if [ -z "$missing" ] && command -v dpkg-query >/dev/null; then
    for package in kamailio-presence-modules kamailio-tls-modules libpurple0 pidgin-sipe; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
fi
if [ -n "$missing" ] && [ "${TRESTLE_INSTALL:-1}" != 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing peers:$missing"
    log=$(mktemp)
    # A failure is no end: what is missing is reported as skipped below.
    if { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends $packages; } >"$log" 2>&1; then
        # Debian starts a Kamailio of its own on the standard ports; the tests use theirs.
        if command -v systemctl >/dev/null && systemctl is-active -q kamailio 2>/dev/null; then
            say "Debian's own kamailio service is running; it is left alone"
        fi
    else
        tail -5 "$log"
        say "apt-get failed; going on without"
    fi
    rm -f "$log"
fi

say "building"
cargo build --locked --quiet --bin trestle
target=${CARGO_TARGET_DIR:-$PWD/target}
TRESTLE_BIN=${TRESTLE_BIN:-$target/debug/trestle}
TRESTLE_SKIPPED=$(mktemp)
export TRESTLE_BIN TRESTLE_SKIPPED
trap 'rm -f "$TRESTLE_SKIPPED"' EXIT INT TERM

say "testing $TRESTLE_BIN"
if [ $# -gt 0 ]; then
    case $1 in
    -*) set -- --workspace "$@" ;;
    *) first=$1 && shift && set -- -p interop-tests --test "$first" "$@" ;;
    esac
else
    cargo test --locked --quiet --workspace --exclude interop-tests
    set -- -p interop-tests --no-fail-fast
fi
# These wait for timers and peers more than they compute.
status=0
RUST_TEST_THREADS=${RUST_TEST_THREADS:-6} cargo test --locked --quiet "$@" || status=$?

if [ -s "$TRESTLE_SKIPPED" ]; then
    say "skipped:"
    sort -u "$TRESTLE_SKIPPED" | sed 's/^/   /'
    [ -z "${CI:-}" ] || status=1
else
    say "nothing was skipped"
fi
exit "$status"
