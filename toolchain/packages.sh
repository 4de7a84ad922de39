#!/bin/sh
# Install the Debian packages that a task needs, if any is missing.
#   toolchain/packages.sh build|demo|test
# Asks for nothing and touches no network where everything is there already. On a system without apt it says what to install.
set -eu

build="gcc libc6-dev cmake ninja-build pkg-config libegl-dev libgles-dev libgbm-dev libdrm-dev libcjson-dev libpng-dev zlib1g-dev"
run="libegl1 libgles2 libgbm1 libgl1-mesa-dri"
case "${1:-}" in
build) wanted="$build" ;;
demo) wanted="$build $run" ;;
test) wanted="$build $run g++ libcmocka-dev glslang-tools" ;;
*)
    echo "usage: $0 build|demo|test" >&2
    exit 2
    ;;
esac

if ! command -v dpkg-query >/dev/null; then
    echo "This is not a Debian system; please see that these, or their like, are installed: $wanted" >&2
    exit 0
fi
# What is installed, one name a line; what a package provides under another name counts too.
installed=$(dpkg-query -W -f '${Status}|${Package}, ${Provides}\n' | sed -n 's/^install ok installed|//p' |
    sed 's/([^)]*)//g' | tr -s ', ' '\n')
missing=""
for package in $wanted; do
    printf '%s\n' "$installed" | grep -qxF -e "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo"
    if ! command -v sudo >/dev/null; then
        echo "Please install as root:$missing" >&2
        exit 1
    fi
fi
echo "Installing:$missing"
# The lists of a fresh machine may be empty or old, so they are fetched first; a failure there shows at install.
$as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q || true
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
