#!/bin/sh
# apt.sh WHAT PACKAGE...: install packages where it may; where it may not, say WHAT is missing and the command to run.
what=$1
shift

if ! command -v apt-get >/dev/null 2>&1; then
    echo "$what, and no apt-get here: install $* with this system's package manager"
    exit 2
fi
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif sudo -n true 2>/dev/null; then
    sudo="sudo -n"
else
    echo "$what: sudo apt-get install -y --no-install-recommends $*"
    exit 2
fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get install -y -q --no-install-recommends "$@" && exit 0
$sudo apt-get update -q && $sudo apt-get install -y -q --no-install-recommends "$@"
