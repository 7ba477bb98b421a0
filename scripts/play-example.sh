#!/usr/bin/env bash
# Plays the example on a running node and prints what kubectl shows of it.
# usage: play-example.sh ORLOP [ROOT]
set -euo pipefail
cd "$(dirname "$0")/.."
orlop=$1
root=${2:-}
export KUBECONFIG=$root/etc/kubernetes/admin.conf

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
show() { say "$@"; "$@"; }

node=$(kubectl get nodes -o jsonpath='{.items[0].metadata.name}')
manifests=$root/etc/kubernetes/manifests

say "cp examples/manifests/etcd.yaml $manifests/"
# Written aside and renamed into place: the agent sees the whole file or none of it.
install -m 0600 examples/manifests/etcd.yaml "$manifests/.etcd.yaml.new"
mv "$manifests/.etcd.yaml.new" "$manifests/etcd.yaml"
show kubectl apply -f examples/kube-proxy-like.yaml

kubectl rollout status --namespace kube-system --timeout=120s daemonset/kube-proxy
# The agent makes the mirror before the pod is ready; until then kubectl has nothing to wait for, and Debian's cannot wait
# for a pod to be made.
show "$orlop" wait "$manifests/etcd.yaml" --for ready ${root:+--root "$root"}
kubectl wait --namespace kube-system --for=condition=Ready --timeout=120s "pod/etcd-$node"

show kubectl get nodes
show kubectl get pods -A
show kubectl get daemonsets -A
show kubectl logs --namespace kube-system daemonset/kube-proxy
show "$orlop" ps ${root:+--root "$root"}
show "$orlop" pods ${root:+--root "$root"}
show etcdctl --endpoints=http://127.0.0.1:2379 endpoint health
printf '\nThe node is up. Try: export KUBECONFIG=%s\n' "$KUBECONFIG"
