#!/bin/sh
# Runs every fuzz target for SECONDS_EACH (default 10) from its seeds: enough to see that it works and finds nothing cheap.
# Needs only the stable toolchain and a C++ compiler: the flags below are those that cargo-fuzz sets, but for the address
# sanitizer, which would need nightly and finds little where unsafe code is forbidden. To fuzz in earnest, with it:
#   cargo install cargo-fuzz && cd interop-tests && cargo +nightly fuzz run view fuzz/corpus/view fuzz/seeds/view
set -eu
cd "$(dirname "$0")"
each=${SECONDS_EACH:-10}
triple=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-$(cd ../.. && pwd)/target}
command -v c++ >/dev/null || { echo "fuzz smoke: no C++ compiler for libFuzzer (apt-get install g++)" >&2; exit 77; }

RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Clink-dead-code" \
    cargo build --quiet --bins --target "$triple" --target-dir "$target/fuzz"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
for name in $(sed -n 's/^name = "\([a-z0-9_]*\)"$/\1/p' Cargo.toml); do
    mkdir -p "$work/$name"
    if ! "$target/fuzz/$triple/debug/$name" -max_total_time="$each" -timeout=5 -rss_limit_mb=2048 -max_len=16384 \
        -artifact_prefix="$work/$name-" "$work/$name" "seeds/$name" >"$work/$name.log" 2>&1; then
        # What panicked, before the backtrace that would bury it.
        grep -a -A3 panicked "$work/$name.log" | cut -c1-2000
        tail -3 "$work/$name.log"
        keep=${TMPDIR:-/tmp}/trestle-fuzz
        mkdir -p "$keep"
        cp "$work/$name"-* "$keep"/ 2>/dev/null || true
        echo "fuzz $name: FAILED; the input is in $keep" >&2
        exit 1
    fi
    echo "fuzz $name: $(sed -n 's/^Done \([0-9]*\) runs.*/\1/p' "$work/$name.log") runs, well"
done
