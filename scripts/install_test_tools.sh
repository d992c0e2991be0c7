#!/bin/sh
# What the tests need besides Python's packages: the browser that they drive, and Redis. Debian's, installed if missing.
set -eu
missing=""
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
[ -z "$missing" ] && exit 0
as_root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null 2>&1 || { echo "The tests need$missing. Run as root: apt-get install$missing" >&2; exit 1; }
  as_root="sudo"
fi
echo "Installing$missing for the tests …"
$as_root apt-get update -qq
# The server that Debian starts by itself is not wanted: the tests start their own.
# shellcheck disable=SC2086 - the names are words
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
for name in $missing; do command -v "$name" >/dev/null; done
