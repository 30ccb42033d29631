#!/usr/bin/env bash
# root.sh DIR: an s390x Debian 13 in DIR for prove.sh, from packages.txt and requirements.txt. Needs root; runs nothing of it.
# Exits with 75 when the mirror can't be reached or is inconsistent after all tries.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$1
# The mirror that this machine itself uses, where it is a Debian.
mirror=${DERMHUB_MIRROR:-$(apt-get indextargets --format '$(SITE)' 'Origin: Debian' 2>/dev/null | grep -v security | head -n 1 || true)}
[ -n "$mirror" ] || { echo "root.sh: this is no Debian: set DERMHUB_MIRROR to the address of a Debian mirror." >&2; exit 1; }
base=base-files,base-passwd,dash,coreutils,libc-bin
packages=$(sed 's/#.*//' "$here/packages.txt" | xargs | tr ' ' ,)

# Each try below begins with an empty DIR.
[ ! -e "$dir" ] || { echo "root.sh: $dir is there already: remove it, or name another folder." >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A mirror in the middle of an update serves indices that don't match their signature. "stable" is a second name of the same
# release with its own signed index, which may be whole when the other isn't; os-release below says which release it was.
built=
for suite in trixie trixie stable trixie stable; do
    rm -rf "$dir"
    # Only the point release: it is what everybody's Debian 13 has in common, and its signature doesn't expire.
    if mmdebstrap --arch=s390x --variant=extract --include="$base,$packages" \
        "$suite" "$dir" "deb $mirror $suite main" >"$log" 2>&1; then
        built=$suite
        break
    fi
    echo "root.sh: $suite from $mirror failed: $(grep -aE '^E:' "$log" | head -1 | cut -c1-160)" >&2
    # A missing package or a broken script is no mirror's fault, and trying again would hide it.
    if ! grep -qaE 'Failed to fetch|Temporary failure|Could not (resolve|connect)|Mirror sync|Connection|expired' "$log"; then
        cat "$log" >&2
        exit 1
    fi
    sleep 10
done
[ -n "$built" ] || exit 75
grep -q '^VERSION_CODENAME=trixie$' "$dir/usr/lib/os-release" || { echo "root.sh: $built is not trixie." >&2; exit 1; }

# Nothing was configured (variant=extract): what the packages' scripts would have done and Python needs, in short.
for name in bin sbin lib; do [ -e "$dir/$name" ] || ln -s "usr/$name" "$dir/$name"; done
[ -e "$dir/lib64" ] || ln -s usr/lib "$dir/lib64"
libraries=$dir/usr/lib/s390x-linux-gnu
for name in blas lapack; do
    [ -e "$libraries/lib$name.so.3" ] || ln -s "$name/lib$name.so.3" "$libraries/lib$name.so.3"
done
mkdir -p "$dir"/{dev/shm,etc,root,tmp,proc,srv}
chmod 1777 "$dir/tmp" "$dir/dev/shm"
echo 'root:x:0:0:root:/root:/bin/sh' >"$dir/etc/passwd"
echo '127.0.0.1 localhost' >"$dir/etc/hosts"
for node in null zero random urandom; do [ -e "$dir/dev/$node" ] || cp -a "/dev/$node" "$dir/dev/"; done

# pip runs here, not under emulation. --no-compile: this Python's bytecode is not that one's. --ignore-requires-python:
# pip checks that of a wheel against the Python it runs on; the tags below already chose for the other one.
for list in requirements requirements-proof; do
    python3 -m pip install -qq --disable-pip-version-check --no-deps --no-compile --only-binary=:all: --ignore-requires-python \
        --python-version 313 --implementation cp --platform manylinux2014_s390x --platform manylinux_2_28_s390x \
        --upgrade --target "$dir/opt/dermhub" -r "$here/$list.txt"
done
