#!/bin/sh
# Build the Dockerfile without a Docker engine, and run the self-test in the image without any network.
#
#   sudo sh submission/build_without_docker.sh DATA [WORK]
#
# The self-test runs twice: as user 65534 in a root file system that cannot be written to, and as root.
# DATA: a val-layout data set (python cli.py simulate DATA --layout val --frames 60).
# WORK: folder for base system, image store and results (default /var/tmp/speckle-rec-image; about 8 GB).
# Needs root, buildah and debootstrap (Debian or Ubuntu: apt-get install buildah debootstrap), and Linux's unshare.
# Environment: MIRROR of Debian; CA, the bundle of certificates that pip trusts while building;
# WHEELS, a folder of wheels (with torch) to be used instead of the torch index; TAR=1 writes image.tar too.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
data=$(cd "${1:?DATA: a data set in the val layout}" && pwd)
work=${2:-/var/tmp/speckle-rec-image}
tag=speckle-rec:v1
mirror=${MIRROR:-http://deb.debian.org/debian}
ca=${CA:-/etc/ssl/certs/ca-certificates.crt}
for tool in buildah debootstrap unshare; do
    command -v "$tool" >/dev/null || { echo "build_without_docker: $tool is not installed" >&2; exit 3; }
done
mkdir -p "$work/results"
work=$(cd "$work" && pwd)
say() { echo "== $(date +%T) $*"; }
buildah() { command buildah --storage-driver "${STORAGE_DRIVER:-overlay}" --root "$work/store" --runroot "$work/run" "$@"; }

base=docker.io/library/python:3.11-slim-bookworm
if ! buildah images -q "$base" >/dev/null 2>&1; then
    say "base system (stands in for $base)"
    [ -f "$work/base.tar" ] || {
        rm -rf "$work/base"
        debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv bookworm \
            "$work/base" "$mirror" >"$work/debootstrap.log"
        rm -f "$work/base/usr/lib/python3.11/EXTERNALLY-MANAGED"
        # What a slim image does without, too: else the size would be of something else.
        rm -rf "$work/base/var/cache/apt" "$work/base/var/lib/apt/lists" "$work/base/usr/share/doc" \
            "$work/base/usr/share/man" "$work/base/usr/share/locale" "$work/base/usr/share/info"
        ln -s /usr/bin/python3.11 "$work/base/usr/local/bin/python"
        ln -s /usr/bin/pip3 "$work/base/usr/local/bin/pip"
        tar -C "$work/base" --numeric-owner -cf "$work/base.tar" .
        rm -rf "$work/base"
    }
    c=$(buildah from scratch)
    buildah add -q "$c" "$work/base.tar" /
    buildah config --env PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd python3 "$c"
    buildah commit -q --rm "$c" "$base"
fi

say "image $tag"
options="--volume $ca:/etc/ssl/certs/ca-certificates.crt:ro"
if [ -n "${WHEELS:-}" ]; then
    options="$options --volume $(cd "$WHEELS" && pwd):/wheels:ro"
    set -- --build-arg "PIP_OPTIONS=--find-links /wheels"
else
    set --
fi
# shellcheck disable=SC2086
buildah bud --isolation chroot --pull-never --layers $options "$@" -f "$root/submission/Dockerfile" \
    --ignorefile "$root/submission/Dockerfile.dockerignore" -t "$tag" "$root"

say "self-test without a network"
c=$(buildah from --pull-never "localhost/$tag")
mounted=$(buildah mount "$c")
entry=$(buildah inspect --format '{{index .OCIv1.Config.Entrypoint 0}}' "localhost/$tag")
mkdir -p "$mounted/home/TUS-REC2025/data" "$mounted/home/TUS-REC2025/results"
environment=$(buildah inspect --format '{{range .OCIv1.Config.Env}}{{.}} {{end}}' "localhost/$tag")
status=0
for user in 65534 0; do      # first where kernels that lack in the image cannot be added to it
    say "as user $user"
    results=$work/results/$user
    mkdir -p "$results"
    rm -f "$results/metrics.h5"
    chown "$user" "$results"
    MOUNTED=$mounted DATA=$data RESULTS=$results ENTRY=$entry ENVIRONMENT=$environment ID=$user \
    unshare --net --mount --pid --fork sh -c '
        mount --bind "$MOUNTED" "$MOUNTED"
        [ "$ID" = 0 ] || mount -o remount,bind,ro "$MOUNTED"
        mount --bind -o ro "$DATA" "$MOUNTED/home/TUS-REC2025/data"
        mount --bind "$RESULTS" "$MOUNTED/home/TUS-REC2025/results"
        mount -t proc proc "$MOUNTED/proc"
        mount -t tmpfs tmpfs "$MOUNTED/dev/shm" 2>/dev/null || true
        exec env -i $ENVIRONMENT chroot --userspec="$ID:$ID" "$MOUNTED" "$ENTRY" --selftest' || status=$?
done
say "image: $(du -sxm "$mounted" | cut -f1) MiB unpacked"
buildah umount "$c" >/dev/null
buildah rm "$c" >/dev/null
if [ -n "${TAR:-}" ]; then
    say "image.tar, as docker save writes it"
    rm -f "$work/image.tar"
    buildah push -q "localhost/$tag" "docker-archive:$work/image.tar:$tag"
fi
say "self-test ended with status $status; metrics in $work/results"
exit "$status"
