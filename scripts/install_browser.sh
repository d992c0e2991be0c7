#!/bin/sh
# The browser that the tests drive: Debian's Chromium, installed if it is missing.
set -eu
command -v chromium >/dev/null 2>&1 && exit 0
as_root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null 2>&1 || { echo "The tests need Chromium. Run as root: apt-get install chromium" >&2; exit 1; }
  as_root="sudo"
fi
echo "Installing Chromium for the browser tests …"
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends chromium >/dev/null
command -v chromium >/dev/null
