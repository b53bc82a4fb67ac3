#!/bin/sh
# Off-screen OpenGL: install the software renderer's libraries where they are missing and it may.
python=${1:-python3}
packages="libegl1 libgl1 libosmesa6"

"$python" -c 'import ctypes.util as u, sys; sys.exit(not (u.find_library("EGL") or u.find_library("OSMesa")))' && exit 0

# shellcheck disable=SC2086
exec sh "$(dirname "$0")/apt.sh" "no OpenGL library to render with" $packages
