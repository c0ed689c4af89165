#!/usr/bin/env bash
# Builds each receiver, starts it and sends it genuine and forged requests.
#
# Prints `ok <receiver>`, or `skipped <receiver>: <why>` where a toolchain is missing.
# A skipped receiver is a failure in CI. With arguments, tests only the receivers named.
set -euo pipefail

receivers=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$receivers/../.." && pwd)
build=${CARGO_TARGET_DIR:-$root/target}/example-receivers
python=$build/python/bin/python

skip_all() {
  echo "skipped all receivers: $1"
  if [ "${CI:-}" = true ]; then exit 1; fi
  exit 0
}

command -v python3 >/dev/null || skip_all "python3 is not installed"

# The signer of the test and the Python receiver share one environment.
# A half-made one, as Debian leaves it behind without the package python3-venv, is made again.
if ! "$python" -m pip --version >/dev/null 2>&1; then
  rm -rf "$build/python"
  mkdir -p "$build"
  python3 -m venv "$build/python" >"$build/venv.log" 2>&1 || skip_all "python3 cannot make environments (on Debian: python3-venv)"
fi
"$python" -m pip install --quiet --disable-pip-version-check --requirement "$receivers/python/requirements.txt"

exec "$python" "$receivers/test_receivers.py" "$build" "$@"
