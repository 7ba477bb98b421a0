#!/usr/bin/env bash
# Installs the Debian packages that are missing: what a node runs on, and what the build needs.
set -euo pipefail

packages=(
  containerd runc containernetworking-plugins iproute2 iptables # the node
  busybox-static etcd-server etcd-client tzdata                 # images of the example and the cluster, and etcdctl
  gcc libc6-dev protobuf-compiler libprotobuf-dev # the build: linker, .proto files
  curl libfaketime openssl                                      # tests
)
command -v kubectl >/dev/null || packages+=(kubernetes-client)

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "these Debian packages are missing and installing them needs root: ${missing[*]}" >&2
  exit 1
fi
echo "installing: ${missing[*]}"
# Packages must not start services of their own: a node brings its own containerd up.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
