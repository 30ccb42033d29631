#!/usr/bin/env bash
# install.sh [--skip-packages]: dermhub as a service on LinuxONE: Debian 13 "trixie" (or an Ubuntu with the same packages), s390x.
#
# Needs root and the package mirrors, no compiler. May be run again, to update or to repair. Installs
#   packages.txt       the distribution's own builds of everything compiled
#   /opt/dermhub/venv  a virtual environment above them, with requirements.txt, pinned
#   /opt/dermhub/app   the program and its models
#   dermhub.service    where systemd runs
# Predictions and class maps without the demo need none of this: README.md, "Without PyTorch".
# --skip-packages: the packages are there already (an image, or a machine where another team installs them).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
home=${DERMHUB_HOME:-/opt/dermhub}

say() { printf '== %s\n' "$*"; }
fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "run it as root: sudo $0"
[ "$(uname -m)" = s390x ] || fail "this machine is $(uname -m), not s390x: 'pip install -r requirements.txt' is all it needs."

if [ "${1:-}" != --skip-packages ]; then
    say "packages of the distribution"
    mapfile -t packages < <(sed 's/#.*//; s/[[:space:]]//g; /^$/d' "$here/packages.txt")
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" ||
        fail "a package of packages.txt is missing here: Debian 13 on s390x has all of them."
fi

# Both are replaced below: nothing that this script did not put there may be lost.
[ ! -e "$home/venv" ] || [ -f "$home/venv/pyvenv.cfg" ] ||
    fail "$home/venv is no virtual environment: move it away, or set DERMHUB_HOME to another folder."
if [ -e "$home/app" ] && { [ ! -f "$home/app/dermhub/__init__.py" ] || [ -e "$home/app/.git" ]; }; then
    fail "$home/app is not what this script installs: move it away, or set DERMHUB_HOME to another folder."
fi

say "virtual environment"
# Made anew where the distribution's Python has moved on: packages for another one would be left in it.
if ! "$home/venv/bin/python" -c 'import sys; sys.exit(f"{sys.version_info[0]}.{sys.version_info[1]}" != sys.argv[1])' \
    "$(python3 -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')" 2>/dev/null; then
    python3 -m venv --clear --system-site-packages "$home/venv"
fi
"$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    -r "$here/requirements.txt"

say "program and models"
new=$(mktemp -d "$home/.app.XXXXXXXXXX")
trap 'rm -rf "$new"' EXIT
for part in app.py train.py README.md LICENSE requirements.txt demo dermhub model_cards; do
    cp -R "$source/$part" "$new/"
done
find "$new" -name __pycache__ -prune -exec rm -rf {} +
# Compiled now: the service can't write here, and every start would compile again.
"$home/venv/bin/python" -m compileall -q "$new"
rm -rf "$home/app"
mv "$new" "$home/app"
chmod -R u=rwX,go=rX "$home/app"

say "does it answer?"
cd "$home/app"
"$home/venv/bin/python" - <<'CHECK'
import sys, torch, timm, dermhub
for name in dermhub.shipped():
    answer = dermhub.load(name).predict(dermhub.draw(3))
    print(f"   {name}: {answer.label} {answer.probabilities[answer.label]:.4f} for a drawing "
          f"(Python {sys.version.split()[0]}, torch {torch.__version__}, timm {timm.__version__}, {sys.byteorder}-endian)")
CHECK

id dermhub >/dev/null 2>&1 || useradd --system --user-group --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin dermhub ||
    fail "the user dermhub could not be made."
if [ -d /run/systemd/system ]; then
    say "service"
    sed "s|/opt/dermhub|$home|g" "$here/dermhub.service" >/etc/systemd/system/dermhub.service
    systemctl daemon-reload
    systemctl enable --quiet dermhub
    systemctl restart dermhub
    say "done: systemctl status dermhub; the page is on http://127.0.0.1:7860 (README.md: TLS in front of it)"
else
    say "done, without a service (no systemd here): cd $home/app && ../venv/bin/python app.py"
fi
