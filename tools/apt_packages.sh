#!/usr/bin/env bash
# Install the Debian packages named, where they are missing and apt is there to do it. Says which
# could not be installed, and fails then.
set -euo pipefail
missing=()
for package in "$@"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo -n)
install() {
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$@" > /dev/null
}
failed=("${missing[@]}")
if "${as_root[@]}" apt-get update -qq; then
  install "${missing[@]}" && exit 0
  # A package that this system does not have must not keep the others away.
  failed=()
  for package in "${missing[@]}"; do
    install "$package" || failed+=("$package")
  done
fi
[ ${#failed[@]} -eq 0 ] && exit 0
echo "not installed: ${failed[*]}" >&2
exit 1
