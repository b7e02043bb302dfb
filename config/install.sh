#!/bin/sh
# Installs rmlb from this bundle, without network and without compiler: ./install.sh [PREFIX]
#
# Goes into PREFIX-VERSION (PREFIX is /opt/rmlb), and PREFIX becomes a link to it: a running balancer
# keeps its files, the next start has the new ones, and the former version is one `ln -sfn` away.
set -eu
cd "$(dirname "$0")"
prefix=${1:-/opt/rmlb}
python=${PYTHON:-python3}
version=$(cat version)
home=$prefix-$version

fail() { echo "install.sh: $*" >&2; exit 1; }

sha256sum --check --quiet SHA256SUMS || fail "the bundle is damaged"
needed=$(cat python-version)
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "no $python; set PYTHON"
[ "$found" = "$needed" ] || fail "the bundle is for Python $needed, $python is $found; set PYTHON"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python has no venv (Debian: python3-venv)"
if [ -e "$prefix" ] && [ ! -L "$prefix" ]; then fail "$prefix exists and is no link"; fi

"$python" -m venv --clear "$home"
"$home/bin/python" -m pip --disable-pip-version-check --quiet install --no-index --no-cache-dir \
  --no-compile --only-binary :all: --require-hashes --find-links wheels -r requirements.txt
"$home/bin/python" -m compileall -q -j 0 "$home/lib" || true
mkdir -p "$home/share/rmlb"
cp -r config docs LICENSE README.md CHANGELOG.md "$home/share/rmlb/"
ln -sfn "$home" "$prefix.new"
mv -T "$prefix.new" "$prefix"
"$prefix/bin/rmlb" version
cat <<END
installed in $home, linked from $prefix. Next, as root (docs/deployment.md):
  install -Dm 644 $prefix/share/rmlb/config/rmlb.sysusers /etc/sysusers.d/rmlb.conf && systemd-sysusers
  cp $prefix/share/rmlb/config/rmlb.sysctl   /etc/sysctl.d/90-rmlb.conf && sysctl --system
  cp $prefix/share/rmlb/config/rmlb.service  /etc/systemd/system/ && systemctl daemon-reload
  mkdir -p /etc/rmlb and write /etc/rmlb/rmlb.toml; rmlb check it; systemctl enable --now rmlb
END
