#!/bin/sh
# Trestle and Kamailio on the same work in the same minutes, with ratios: CPU per operation first.
#
#   interop-tests/load/compare.sh              all jobs, full size (about ten minutes)
#   interop-tests/load/compare.sh --quick      all of it in less than two minutes, building apart
#   interop-tests/load/compare.sh --jobs relay --transports udp,tls
#   interop-tests/load/compare.sh --help
#
# Needs Debian's kamailio, kamailio-presence-modules and kamailio-tls-modules; without them it says so and exits 77.
set -eu
cd "$(dirname "$0")/../.."
if [ "${1:-}" != --help ] && ! PATH="$PATH:/usr/sbin" command -v kamailio >/dev/null; then
    echo "kamailio is not installed: apt-get install kamailio kamailio-presence-modules kamailio-tls-modules" >&2
    exit 77
fi
cargo build --release --locked --quiet --bin trestle
cargo build --release --locked --quiet -p interop-tests --bin load
exec "${CARGO_TARGET_DIR:-$PWD/target}/release/load" "$@"
