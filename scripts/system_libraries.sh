#!/bin/sh
# What pip cannot bring: EGL for rendering without a screen, and Python's venv (Debian packs both apart).
# Present: done. Root on Debian: installed. Otherwise one line names what to install.
set -eu
python=${1:-python3}
packages=""

libraries=$(PATH="$PATH:/sbin" ldconfig -p)
for library in libEGL.so.1 libOpenGL.so.0; do
    case "$libraries" in *"$library"*) ;; *) packages="libegl1 libopengl0 libgl1-mesa-dri" ;; esac
done
"$python" -c "import ensurepip, venv" 2>/dev/null || packages="$packages python3-venv"

[ -z "$packages" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    # Unquoted: one word a package.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
else
    echo "thinkvla needs system packages that are missing; install them: sudo apt-get install $packages" >&2
    exit 1
fi
