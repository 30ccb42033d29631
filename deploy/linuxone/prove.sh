#!/usr/bin/env bash
# Prove that dermhub answers on s390x (big-endian) as it does here:
#
#   prove.sh [CERTIFICATE]         the whole proof, of all shipped models; writes PARITY.md, or CERTIFICATE
#   prove.sh --quick CERTIFICATE   the part of it that .ci/run makes: the models that answer where none is named, and
#                                  the tests of `quick_tests` below; app.py and the epoch of training as in the whole
#   prove.sh --root                only build the s390x Debian, which the next proof then finds
#
# From nothing: builds an s390x Debian 13 (kept in ~/.cache/dermhub-s390x), runs in it, under qemu-user, the tests, every
# shipped model, app.py and an epoch of training, does the same here, and compares. Needs root on Debian or Ubuntu, 2 GB of
# disk, and an environment with requirements-dev.txt as `python3`. Registers qemu for s390x programs with the kernel.
# Exits with 0 (all within the limits), 1 (a difference or a fault), or 75 (SKIPPED: no usable package mirror, or a
# kernel that takes no emulator).
set -euo pipefail
set -m  # background jobs are process groups, so that ending one ends all of it
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
part=whole
case "${1:-}" in
    --quick | --root) part=${1#--}; shift ;;
    -*) echo "prove.sh: got $1, expected --quick, --root or a certificate's path."; exit 2 ;;
esac
certificate=$(realpath -m "${1:-$here/PARITY.md}")
# PARITY.md and parity.json speak of all models.
if [ "$part" = quick ] && { [ $# = 0 ] || [ "$(dirname "$certificate")" = "$here" ]; }; then
    echo "prove.sh: --quick proves a part and can't write $certificate: name a certificate in another folder."
    exit 2
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dermhub-s390x
# Those of the fast tests that are about bytes, pixels, numbers and files, and fit into the time under emulation.
tests=(test_byte_order test_tensors test_tasks test_files data/test_partition evaluation/test_calibration
    images/{test_decode,test_drawn_lesions,test_near_duplicates}
    models/{test_classifier,test_config,test_conformal,test_explanation,test_graph_weights,test_weights})
# Of these, the ones that read and write bytes in an order, which is what a big-endian machine breaks first.
quick_tests=(test_byte_order test_tensors test_files models/{test_graph_weights,test_weights})
models=()  # all
if [ "$part" = quick ]; then
    tests=("${quick_tests[@]}")
    models=(binary lesion)
fi

say() { printf '%4ds  %s\n' "$SECONDS" "$*"; }
[ "$(id -u)" = 0 ] || { echo "prove.sh: needs root, for chroot and for qemu's registration."; exit 1; }

if ! command -v mmdebstrap >/dev/null || [ ! -e /usr/lib/binfmt.d/qemu-s390x.conf ]; then
    say "installing mmdebstrap and qemu"
    for n in 1 2 3; do
        apt-get update -qq && apt-get install -y -qq mmdebstrap qemu-user-static arch-test >/dev/null && break
        [ "$n" != 3 ] || { echo "PROOF ON S390X SKIPPED: mmdebstrap and qemu could not be installed."; exit 75; }
        sleep 10
    done
fi
if [ ! -e /proc/sys/fs/binfmt_misc/qemu-s390x ]; then
    if ! { [ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc none /proc/sys/fs/binfmt_misc; } \
        || ! cat /usr/lib/binfmt.d/qemu-s390x.conf >/proc/sys/fs/binfmt_misc/register; then
        echo "PROOF ON S390X SKIPPED: this machine's kernel takes no emulator for s390x programs."
        exit 75
    fi
fi

hash() { cat "$@" | sha256sum | cut -c1-16; }
root=$cache/$(hash "$here"/{packages.txt,requirements.txt,requirements-proof.txt,root.sh})
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9  # two proofs in one root would delete each other's work
if [ ! -d "$root" ]; then
    say "building the s390x root"
    # Roots of older lists, and what was left of a build that broke off: those that this script has marked.
    for old in "$cache"/*.made-by-prove; do
        [ -f "$old" ] || continue
        rm -rf "${old%.made-by-prove}" "${old%.made-by-prove}.part"
        rm "$old"
    done
    [ ! -e "$root.part" ] || { echo "prove.sh: $root.part is there and not marked as ours: remove it."; exit 1; }
    : >"$root.made-by-prove"
    code=0
    "$here/root.sh" "$root.part" || code=$?
    [ "$code" != 75 ] || { echo "PROOF ON S390X SKIPPED: the package mirror can't be reached, or is inconsistent."; exit 75; }
    [ "$code" = 0 ] || exit 1
    mv "$root.part" "$root"
fi
[ "$part" != root ] || { say "the s390x root is there"; exit 0; }

work=$root/srv/work
project=$root/srv/dermhub
rm -rf "$work" "$project"
mkdir -p "$work" "$project"
finish() {
    local code=$?
    for job in $(jobs -p); do kill -- "-$job" 2>/dev/null || true; done
    [ "$code" = 0 ] || tail -n 25 "$work"/*.log 2>/dev/null || true
    rm -rf "$work" "$project"
}
trap finish EXIT
(cd "$repository" && git ls-files -z -co --exclude-standard | xargs -0 ls -d 2>/dev/null | tar -cT - | tar -xC "$project")

# A clean environment: PYTHONDONTWRITEBYTECODE, for one, would make every import cold.
s390x() {
    timeout --foreground 3000 chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/root LANG=C.UTF-8 TMPDIR=/tmp OMP_NUM_THREADS=1 \
        PYTHONPATH=/opt/dermhub:/srv/dermhub PYTHONHASHSEED=0 GRADIO_ANALYTICS_ENABLED=False \
        /bin/sh -c 'cd /srv/dermhub && exec "$@"' sh "$@"
}
x86() { (cd "$repository" && PYTHONPATH=$repository OMP_NUM_THREADS=1 exec "$@"); }

serve_and_ask() {  # serve_and_ask MACHINE PORT OUT: start app.py there, send it a JPEG over HTTP, keep the answer
    local log=$work/app-$1.log server n
    "$1" python3 app.py --port "$2" >"$log" 2>&1 9>&- &
    server=$!
    for n in $(seq 900); do
        ! grep -q 'is ready' "$log" || break
        kill -0 "$server" 2>/dev/null || return 1
        sleep 1
    done
    say "$1: app.py is up"
    x86 python3 "$here/ask.py" "http://127.0.0.1:$2" "$work/images/frame.jpg" "$3" || return 1
    kill -- "-$server"
    wait "$server" 2>/dev/null || true
}

[ "$(s390x python3 -c 'import sys; print(sys.byteorder)')" = big ] || { echo "prove.sh: the root is not big-endian."; exit 1; }
say "the s390x root runs, and is big-endian"

x86 python3 "$here/golden.py" draw "$work/images" "${models[@]}"
paths=("${tests[@]/#/tests/}")
s390x python3 -m pytest -q --durations=8 -o addopts="" -m "not slow and not data and not browser" -p no:cacheprovider \
    "${paths[@]/%/.py}" >"$work/tests.log" 2>&1 9>&- &
testing=$!
s390x python3 deploy/linuxone/golden.py answer /srv/work/images /srv/work/s390x "${models[@]}" >"$work/golden-s390x.log" 2>&1
say "s390x: the shipped models have answered, an epoch is trained"
# Debian's onnxruntime writes a thousand lines about its operators being registered twice; they change nothing.
s390x python3 deploy/linuxone/golden.py onnx /srv/work/images /srv/work/s390x >"$work/golden-onnx.log" 2>&1 ||
    { sed -i '/^Schema error/d; /^$/d' "$work/golden-onnx.log"; exit 1; }
say "s390x: their exports have answered, without PyTorch"
serve_and_ask s390x 17861 "$work/s390x/page.html"
say "s390x: app.py has answered"
x86 python3 "$here/golden.py" answer "$work/images" "$work/x86" "${models[@]}" >"$work/golden-x86.log" 2>&1
serve_and_ask x86 17862 "$work/x86/page.html"
wait "$testing" || true
summary=$(grep -aE '^[0-9]+ (passed|failed)|^(ERROR|no tests)| (passed|failed|error)' "$work/tests.log" | tail -n 1 || true)
say "s390x: tests: ${summary:-none ran}"

code=0
x86 python3 "$here/compare.py" "$work/x86" "$work/s390x" "$certificate" \
    tests="${summary%% in *} (${#tests[@]} of $(find "$repository/tests" -name "test_*.py" | wc -l) files)" \
    emulator="$(qemu-s390x-static --version 2>/dev/null | head -n 1 || echo qemu-user)" \
    "package list (packages.txt), sha256=$(sha256sum <"$here/packages.txt" | cut -d' ' -f1)" \
    "pinned rest (requirements.txt), sha256=$(sha256sum <"$here/requirements.txt" | cut -d' ' -f1)" \
    "release of the s390x root=Debian $(cat "$root/etc/debian_version")" \
    "test files run on s390x=${tests[*]}" || code=1
# The short form in the model cards; not where the certificate goes elsewhere, as in .ci/run, which leaves the tree alone.
if [ "$code" = 0 ] && [ "$certificate" = "$here/PARITY.md" ]; then
    x86 python3 "$here/certify.py" "$here/parity.json" "$repository"/model_cards/*/
fi
say "done: $([ "$code" = 0 ] && echo PASSED || echo FAILED), $certificate"
exit "$code"
