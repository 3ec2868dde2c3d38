#!/bin/sh
# Rendering without a screen needs EGL. Present: done. Root on Debian: installed. Otherwise: one line that names them.
set -eu
PACKAGES="libegl1 libopengl0 libgl1-mesa-dri"

present() {
    libraries=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p)
    for library in libEGL.so.1 libOpenGL.so.0; do
        case "$libraries" in *"$library"*) ;; *) return 1 ;; esac
    done
}

present && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $PACKAGES
else
    echo "thinkvla: rendering needs system libraries that are missing; install them: sudo apt-get install $PACKAGES" >&2
    exit 1
fi
