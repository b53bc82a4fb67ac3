#!/bin/sh
# Off-screen OpenGL: install the software renderer's libraries where they are missing and it may.
python=${1:-python3}
packages="libegl1 libgl1 libosmesa6"

"$python" -c 'import ctypes.util as u, sys; sys.exit(not (u.find_library("EGL") or u.find_library("OSMesa")))' && exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "no OpenGL library to render with: install EGL or OSMesa with this system's package manager"
    exit 2
fi
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    echo "no OpenGL library to render with: sudo apt-get install -y $packages"
    exit 2
fi
$sudo apt-get update -q && $sudo apt-get install -y -q --no-install-recommends $packages
