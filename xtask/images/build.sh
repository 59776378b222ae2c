#!/usr/bin/env bash
# Builds server images from Debian packages (moto: from PyPI as well), for machines that reach Debian's packages but no container
# registry. Each image has the name, the tag and the environment variables of the official one, so that whatever runs
# with the one runs with the other.
#   build.sh                 all images
#   build.sh postgres:17 …   some of them
# Needs: root, a Docker engine, and a Debian-like system, whose apt sources say where packages are. mmdebstrap is
# installed where it is missing; moto needs pip.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mirror=$(awk '/^URIs:/{print $2; exit}' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
[ -n "$mirror" ] || mirror=$(awk '$1=="deb"{print $2; exit}' /etc/apt/sources.list 2>/dev/null || true)

# image | Debian suite | packages | data folder: a volume, so that it is on the disk and not on the overlay
recipes='
postgres:15|bookworm|postgresql-15|/var/lib/postgresql/data
postgres:17|trixie|postgresql-17|/var/lib/postgresql/data
postgres:18|sid|postgresql-18|/var/lib/postgresql/data
mysql:9.7|sid|mysql-server-core,mysql-client-core|/var/lib/mysql
mariadb:10.11|bookworm|mariadb-server,mariadb-client,galera-4,rsync,iproute2|/var/lib/mysql
mariadb:11.8|trixie|mariadb-server,mariadb-client,galera-4,rsync,iproute2|/var/lib/mysql
pgbouncer:1|trixie|pgbouncer|
ceph-rgw:20|sid|ceph-mon,ceph-osd,radosgw,ceph-common|
nats:2|sid|nats-server|
valkey:9|sid|valkey-server|
moto:5|trixie|python3|
'

build() {
  local image=$1 suite=$2 packages=$3 data=$4
  local name=${image%%:*} tag=${image#*:}
  local unfinished=$image-unfinished
  local volume=()
  if docker image inspect "$image" >/dev/null 2>&1; then echo "$image: there already"; return; fi
  [ -z "$data" ] || volume=(--change "VOLUME $data")
  echo "$image: from $suite ($packages)"
  # A mirror's index of sid can be past its validity date; its signature is checked all the same.
  local hooks=()
  # Wheels only, for the image's Python, whichever is this system's.
  [ "$name" != moto ] || hooks=(--customize-hook="python3 -m pip install --quiet --no-cache-dir --only-binary=:all: --python-version 3.13 --implementation cp --target \"\$1/opt/moto\" 'moto[server,s3]==5.*'")
  # An import makes an image of whatever came before mmdebstrap failed: it has the name only once all is in it.
  if ! mmdebstrap --quiet --mode=root --variant=minbase \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --include="$packages" \
    --customize-hook="copy-in $here/$name.sh /usr/local/bin" \
    --customize-hook="chmod 755 \"\$1/usr/local/bin/$name.sh\"" \
    "${hooks[@]}" --customize-hook="rm -rf \"\$1/var/lib/mysql\" \"\$1/var/lib/postgresql\" \"\$1\"/var/cache/apt/* \"\$1\"/var/lib/apt/lists/*" \
    "$suite" - "deb $mirror $suite main" |
    docker import "${volume[@]}" --change "ENTRYPOINT [\"/usr/local/bin/$name.sh\"]" \
      --change "ENV SERVER_VERSION=$tag" - "$unfinished" >/dev/null
  then
    docker image rm "$unfinished" >/dev/null 2>&1 || true
    echo "$image: not built" >&2
    return 1
  fi
  docker tag "$unfinished" "$image"
  docker image rm "$unfinished" >/dev/null
  docker image inspect --format "$image: {{.Size}} bytes" "$image"
}

known=$(printf '%s' "$recipes" | cut -d'|' -f1 | grep .)
for image in "$@"; do
  grep -qx -- "$image" <<<"$known" || { echo "no recipe for $image; there are: $(tr '\n' ' ' <<<"$known")" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "building images needs root" >&2; exit 1; }
[ -n "$mirror" ] || { echo "this system's apt sources name no mirror of Debian" >&2; exit 1; }
if ! command -v mmdebstrap >/dev/null; then
  echo "mmdebstrap: installing it"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null
fi
while IFS='|' read -r image suite packages data; do
  [ -n "$image" ] || continue
  if [ $# -eq 0 ] || printf '%s\n' "$@" | grep -qx -- "$image"; then build "$image" "$suite" "$packages" "$data"; fi
done <<<"$recipes"
