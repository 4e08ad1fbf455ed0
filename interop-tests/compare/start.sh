#!/bin/sh
# Starts the release build on loopback for one job of a load comparison and prints its pid.
#   start.sh JOB TRANSPORT PORT TRUNKB_PORT CHILDREN TCP_CHILDREN SHM_MB CERTS_DIR RUN_DIR
# JOB: relay, presence or registrar. TRANSPORT: udp, tcp or tls. The workers and memory of other servers mean nothing here.
# notify.min_interval is 0, so that every state is sent; store.sync is the default.
# The load generator is found by $SIMPLELOAD; without it there is nothing to compare: exit 77.
set -eu
[ -n "${SIMPLELOAD:-}" ] || { echo "set SIMPLELOAD to the load generator's program" >&2; exit 77; }
job=$1 t=$2 port=$3 bport=$4 certs=$8 run=$9
top=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$top/target}
[ -x "$target/release/trestle" ] || (cd "$top" && cargo build --release --quiet)
rm -rf "$run"; mkdir -p "$run"
proof="addresses: [127.0.0.1/32]"
[ "$t" = tls ] && proof="addresses: [127.0.0.1/32], tls: { ca: [$certs/ca.crt], names: [load.test, server.test] }"
ask=""; [ "$t" = tls ] && ask=", client_certificate: require"
listeners="  - { name: main, transport: $t, bind: [\"127.0.0.1:$port\"]$ask }"
{
  echo "domains: [bridge.test, pres.test, reg.test]"
  echo "identity: { host: bridge.test, certificate: $certs/server.crt, key: $certs/server.key }"
  echo "listeners:"; echo "$listeners"
  echo "presence: { max_subscriptions: 1000000 }"
  echo "notify: { min_interval: 0s }"
  echo "limits: { max_transactions: 4000000, max_connections: 100000, per_source: { connections: 100000, handshakes: 100000, requests: 10000000 } }"
  echo "store: { path: $run/data }"
  echo "admin: { socket: $run/trestle.sock, http: \"off\" }"
  echo "log: { level: warn }"
  echo "peers:"
  echo "  - { name: front, front_end: true, domains: [pres.test, reg.test], transport: $t, next_hop: \"127.0.0.1:$bport\", probe: \"off\", $proof }"
  echo "  - { name: a, domains: [a.test], transit: [b.test], transport: $t, next_hop: \"127.0.0.1:$bport\", probe: \"off\", $proof }"
  echo "  - { name: b, domains: [b.test], transport: $t, next_hop: \"127.0.0.1:$bport\", probe: \"off\", $proof }"
} > "$run/bridge.yaml"
"$target/release/trestle" run --config "$run/bridge.yaml" > "$run/log" 2>&1 &
pid=$!
i=0
while [ $i -lt 200 ]; do
  kill -0 $pid 2>/dev/null || { cat "$run/log" >&2; exit 1; }
  [ -S "$run/trestle.sock" ] && break
  sleep 0.05; i=$((i+1))
done
echo $pid
