#!/usr/bin/env bash
# Sends the real program what providers send, signed by the providers' own libraries. Needs `cargo build --bins` before.
#
# Prints `ok <provider>`, or `skipped <provider>: <why>` where a toolchain is missing.
# What is skipped is a failure in CI. With arguments, tests only the providers named.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
build=$target/providers
python=$build/python/bin/python

skip_all() {
  echo "skipped all providers: $1"
  if [ -n "${CI:-}" ]; then exit 1; fi
  exit 0
}

if [ ! -x "$target/debug/harborhook" ]; then
  echo "$target/debug/harborhook is missing: run \`cargo build --workspace --bins\`" >&2
  exit 1
fi
command -v python3 >/dev/null || skip_all "no python3"

# A half-made environment, as Debian leaves it behind without the package python3-venv, is made again.
if ! "$python" -m pip --version >/dev/null 2>&1; then
  rm -rf "$build/python"
  mkdir -p "$build"
  python3 -m venv "$build/python" >"$build/venv.log" 2>&1 || skip_all "no python3-venv"
fi
# Most of these libraries are large, and one file of each is read: nothing is compiled in advance.
"$python" -m pip install --quiet --disable-pip-version-check --no-compile --only-binary :all: \
  --requirement "$here/requirements.txt"

exec "$python" "$here/test_providers.py" "$target/debug/harborhook" "$build" "$@"
