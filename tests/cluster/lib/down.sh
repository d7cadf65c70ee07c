# shellcheck shell=bash
# Stops everything that `up` started. The order matters: first whoever would start things again.

CONTAINER_GRACE_HALF_SECONDS=10 # databases flush; what takes longer recovers from its log

down() {
  daemons_stop 5 kubelet kube-proxy
  containers_stop "$CONTAINER_GRACE_HALF_SECONDS"
  # An API server waits up to a minute for open watches; etcd has everything it acknowledged.
  daemons_stop 5 kube-scheduler kube-controller-manager kube-apiserver forge registry containerd
  daemons_stop 5 etcd
  node_clean
  network_down
}

reset_state() {
  down
  remove_tree "$KIT_STATE"
}
