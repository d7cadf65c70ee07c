# shellcheck shell=bash
# Stops everything that `up` started. The order matters: first whoever would start things again.

CONTAINER_GRACE_HALF_SECONDS=10 # databases flush; what takes longer recovers from its log

down() {
  daemons_stop 5 kubelet kube-proxy kube-router
  containers_stop "$CONTAINER_GRACE_HALF_SECONDS"
  # An API server waits up to a minute for open watches; etcd has everything it acknowledged.
  daemons_stop 5 kube-scheduler kube-controller-manager kube-apiserver forge registry containerd
  daemons_stop 5 etcd
  strays_end
  node_clean
  network_down
}

# Daemons of a state folder that is gone: nobody knows their pids, and they hold the ports.
strays_end() {
  local link
  for link in /proc/[0-9]*/exe; do
    [[ "$(readlink "$link")" != "$KIT_CACHE/bin/"* ]] || kill -KILL "$(cut -d/ -f3 <<<"$link")" 2>/dev/null || true
  done
}

reset_state() {
  down
  remove_tree "$KIT_STATE"
}
