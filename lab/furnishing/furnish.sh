#!/bin/sh
# Runs on a machine of a plain box, after everything was unpacked there.  It may be killed at any line and is
# then run again from its first; the mark is written last.
#
# root: what it works in, "" on a machine and a folder in tests
# hash: what goes into the mark
# masked, modules, packages: words; from: archive (packages lie in the archive) or network (of the machine)
set -eu
umask 022
root=$1 hash=$2 from=$3 masked=$4 modules=$5 packages=$6
shift 6 # what is left begins the command that imports an image

here=$root/var/cache/thwlab
mark=$root/var/lib/thwlab/programs
run=$root/run/thwlab-import
units=$root/etc/systemd/system

step() { echo "furnish: $*"; }

step "units that start by themselves are masked"
for unit in $masked; do
    # Where the lab's own unit of that name is already, nothing of the distribution's starts.
    if [ ! -e "$units/$unit" ] && [ ! -L "$units/$unit" ]; then
        mkdir -p "$units"
        ln -s /dev/null "$units/$unit"
        systemctl stop "$unit" 2>/dev/null || true # there is none before its package is there
    fi
done
systemctl daemon-reload

step "packages, from the $from"
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
patient="-o DPkg::Lock::Timeout=300" # a box may be updating itself at its first boot
# What a run that was killed left half-configured would refuse every install.
[ -z "$(dpkg --audit)" ] || dpkg --force-confold --configure -a </dev/null
case $from in
archive)
    echo "deb [trusted=yes] file:$here/packages ./" >"$here/sources.list"
    only="-o Dir::Etc::sourcelist=$here/sources.list -o Dir::Etc::sourceparts=/dev/null"
    only="$only -o Dir::State::lists=$here/lists -o Acquire::Languages=none"
    mkdir -p "$here/lists/partial"
    ;;
network) only= ;;
esac
# shellcheck disable=SC2086 # words
apt-get -q $patient $only update
# shellcheck disable=SC2086 # words
apt-get -q -y $patient $only -o Dpkg::Options::=--force-confold --no-install-recommends --no-upgrade \
    install $packages </dev/null

if [ -n "$modules" ]; then
    step "kernel modules $modules"
    # shellcheck disable=SC2086 # words
    modprobe -a $modules
fi

if [ -f "$here/importer.toml" ]; then
    step "container images"
    socket=$root/run/containerd/containerd.sock
    daemon=
    if [ ! -S "$socket" ]; then
        socket=$run/s
        rm -rf "$run"
        mkdir -p "$run"
        "$root/usr/local/bin/containerd" --config "$here/importer.toml" >"$run/log" 2>&1 &
        daemon=$!
        trap 'kill "$daemon" 2>/dev/null || true' EXIT
        turns=0
        while [ ! -S "$socket" ]; do
            kill -0 "$daemon" 2>/dev/null || { cat "$run/log" >&2; exit 1; }
            turns=$((turns + 1))
            [ "$turns" -le 600 ] || { echo "containerd did not listen within 300 s" >&2; exit 1; }
            sleep 0.5
        done
    fi
    for image in "$here"/images/*.tar; do
        CONTAINERD_ADDRESS=$socket "$@" "$image"
    done
    if [ -n "$daemon" ]; then
        trap - EXIT
        kill "$daemon"
        wait "$daemon" || true
        rm -rf "$run"
    fi
fi

rm -rf "$here"
mkdir -p "${mark%/*}"
echo "$hash" >"$mark.part"
sync
mv "$mark.part" "$mark"
step "done"
