#!/usr/bin/env bash
# Install what is missing of QGIS >= 3.40, venv, git and make on a Debian system; does nothing if all is there.
set -euo pipefail

OLDEST_QGIS=34000

have_qgis() {
    [ -x /usr/bin/qgis_process ] &&
        /usr/bin/python3 -c "
import sys
from qgis.core import Qgis
sys.exit(Qgis.QGIS_VERSION_INT < $OLDEST_QGIS)" 2>/dev/null
}

missing=()
have_qgis || missing+=(qgis python3-qgis qgis-providers)
/usr/bin/python3 -c "import venv, ensurepip" 2>/dev/null || missing+=(python3-venv)
command -v git >/dev/null || missing+=(git)
command -v make >/dev/null || missing+=(make)
[ ${#missing[@]} -gt 0 ] || exit 0

echo "Missing: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
    echo "This script installs on Debian only: install QGIS 3.40 or newer, Python's venv, git and make by hand." >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Run as root, or install sudo, to install: ${missing[*]}." >&2; exit 1; }
    as_root=(sudo)
fi

# Debian's own release may have an older QGIS; then its backports are added beside it, from the same place.
add_backports() {
    local suite=$1 sources=/etc/apt/sources.list.d/debian.sources entry
    if [ -f "$sources" ]; then
        entry=$(awk -v suite="${suite%-backports}" 'BEGIN { RS = ""; }
            $0 ~ "Suites:[^\n]*" suite && $0 !~ "-security" { print; exit }' "$sources" |
            sed "s/^Suites:.*/Suites: $suite/")
        printf '%s\n' "$entry" | "${as_root[@]}" tee /etc/apt/sources.list.d/backports.sources >/dev/null
    else
        entry=$(awk -v old="${suite%-backports}" -v new="$suite" \
            '$1 == "deb" { for (i = 2; i < NF; i++) if ($i == old) { $i = new; print; exit } }' /etc/apt/sources.list)
        printf '%s\n' "$entry" | "${as_root[@]}" tee /etc/apt/sources.list.d/backports.list >/dev/null
    fi
    "${as_root[@]}" apt-get update -q
}

new_enough() { # is any QGIS that apt knows of at least 3.40?
    apt-cache madison qgis | awk -F'[ |]+' '{ print $3 }' | sed 's/^[0-9]*://' |
        awk -F. '$1 > 3 || ($1 == 3 && $2 >= 40) { found = 1 } END { exit !found }'
}

"${as_root[@]}" apt-get update -q
release=()
case " ${missing[*]} " in *" qgis "*)
    suite="$(. /etc/os-release && echo "$VERSION_CODENAME")-backports"
    new_enough || add_backports "$suite"
    new_enough || { echo "No QGIS 3.40 or newer is to be had from apt, nor from $suite." >&2; exit 1; }
    if apt-cache madison qgis | grep -q "$suite"; then release=(-t "$suite"); fi
    ;;
esac
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy "${release[@]}" "${missing[@]}" </dev/null
have_qgis || { echo "QGIS 3.40 or newer is still missing." >&2; exit 1; }
