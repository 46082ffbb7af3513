#!/bin/sh
# Passes all tests, and first fetches what they need from Debian: the peers (prometheus,
# prometheus-blackbox-exporter, prometheus-node-exporter, victoria-metrics) are unpacked below target/peers and not
# installed, so nothing is started and nothing of the system changes; iproute2, nftables, fping,
# systemd (for systemd-analyze), nix-bin and dpkg-dev (for the package) are installed when they are missing
# and we may. cargo-deb, which makes the package, comes from crates.io and is built below target/tools.
# OTLP is read by packages of PyPI, in a virtual environment below target/python; for that python3-venv
# is installed when it is missing and we may.
# Arguments go to `cargo test`, e.g. `./test.sh hostile`. `./test.sh --long` makes kills, faults of disks, hostile
# attempts and fuzzing as long as nights are.
set -eu
if [ "${1:-}" = --long ]; then
    shift
    WATCHPOST_KILLS=1000 WATCHPOST_FULL_FOR=60 WATCHPOST_DAMAGES=600 WATCHPOST_OUTAGE=300
    WATCHPOST_HOSTILE=1000 WATCHPOST_FUZZ_RUNS=1000000
    export WATCHPOST_KILLS WATCHPOST_FULL_FOR WATCHPOST_DAMAGES WATCHPOST_OUTAGE WATCHPOST_HOSTILE WATCHPOST_FUZZ_RUNS
fi
cd "$(dirname "$0")"
peers="$PWD/target/peers"
mkdir -p "$peers"
root=false; [ "$(id -u)" -eq 0 ] && root=true
updated=false
update() {
    if ! $updated && $root; then apt-get update -qq; fi
    updated=true
}

for package in prometheus prometheus-blackbox-exporter prometheus-node-exporter victoria-metrics; do
    if ! [ -x "$peers/usr/bin/$package" ] && ! command -v "$package" >/dev/null; then
        echo "test.sh: fetching $package from Debian, unpacked below target/peers"
        if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
            update || true
            (cd "$peers" && apt-get download -qq "$package" && dpkg-deb -x "$package"_*.deb . && rm -f "$package"_*.deb) \
                || echo "test.sh: $package cannot be had; its tests will be skipped by name"
        else
            echo "test.sh: this is no Debian; the tests that need $package will be skipped by name"
        fi
    fi
done
PATH="$PATH:/usr/sbin:/sbin"
for pair in ip:iproute2 nft:nftables fping:fping systemd-analyze:systemd nix-instantiate:nix-bin dpkg-shlibdeps:dpkg-dev; do
    package=${pair#*:}
    if ! command -v "${pair%%:*}" >/dev/null && command -v apt-get >/dev/null && $root; then
        echo "test.sh: installing $package"
        update || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null \
            || echo "test.sh: $package cannot be had; its tests will be skipped by name"
    fi
done

tools="$PWD/target/tools"
PATH="$PATH:$tools/bin"
if ! command -v cargo-deb >/dev/null; then
    echo "test.sh: building cargo-deb of crates.io, below target/tools"
    # Without optimisation and without its own xz (dpkg-dev brings one) it takes a third of the time to build.
    CARGO_TARGET_DIR="$tools/build" timeout 900 cargo install -q cargo-deb --version '^3.8' --locked \
        --no-default-features --profile dev --root "$tools" \
        || echo "test.sh: cargo-deb cannot be had; its test will be skipped by name"
    rm -rf "$tools/build"
fi

python="$PWD/target/python"
reads_otlp() {
    "$python/bin/python3" -c 'import grpc, opentelemetry.proto.collector.metrics.v1.metrics_service_pb2' 2>/dev/null
}
if ! reads_otlp; then
    echo "test.sh: fetching opentelemetry-proto and grpcio from PyPI, below target/python"
    # Debian keeps what makes an environment in a package of its own.
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null && command -v apt-get >/dev/null && $root; then
        echo "test.sh: installing python3-venv"
        update || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null || true
    fi
    # What was made by half is thrown away: the tests run whatever is there.
    { python3 -m venv --clear "$python" \
        && timeout 300 "$python/bin/python3" -m pip install -q 'opentelemetry-proto>=1.20' grpcio \
        && reads_otlp; } \
        || { rm -rf "$python"; echo "test.sh: they cannot be had; the tests that need them will be skipped by name"; }
fi

PATH="$peers/usr/bin:$PATH"
WATCHPOST_PYTHON="$python/bin/python3"
WATCHPOST_SKIPS="$PWD/target/skipped.txt"
RUST_TEST_THREADS="${RUST_TEST_THREADS:-8}" # most tests wait for something
export PATH WATCHPOST_PYTHON WATCHPOST_SKIPS RUST_TEST_THREADS
rm -f "$WATCHPOST_SKIPS"
status=0
cargo test --profile ci --workspace "$@" || status=$?
if [ -s "$WATCHPOST_SKIPS" ]; then
    echo
    sort -u "$WATCHPOST_SKIPS"
fi
exit $status
