# shellcheck shell=bash
# One real node: a registry to pull from, containerd, kubelet and kube-proxy.

registry_up() {
  render "$KIT_DIR/node/registry.yml" STORAGE="$KIT_STATE/registry" REGISTRY="$REGISTRY" |
    write_file_if_changed "$NODE_DIR/registry.yml"
  daemon_ensure registry "$NODE_DIR/registry.yml" -- docker-registry serve "$NODE_DIR/registry.yml"
  daemon_await 20 registry http_ok "http://$REGISTRY/v2/"
}

# Once more from nothing if need be: what a killed node left is not always found by looking for it.
node_up() {
  node_start
  wait_until 90 "the node to be ready" node_ready && return
  node_trouble
  echo "starting the node anew"
  daemons_stop 20 kube-proxy kubelet containerd
  node_clean
  node_start
  wait_until 120 "the node to be ready" node_ready && return
  node_trouble
  return 1
}

node_trouble() {
  kube get node "$NODE_NAME" -o 'jsonpath={range .status.conditions[*]}{.type}={.status}: {.message}{"\n"}{end}' || true
  echo "the last words of kubelet:"
  tail -n 12 "$LOG_DIR/kubelet.log"
}

node_start() {
  local bin
  bin=$(go_dir kubernetes)
  containerd_up
  mkdir -p "$VOLUMES_DIR"
  node_config kubelet.yaml kubelet.yaml NODE_IP="$NODE_IP" PORT_KUBELET="$PORT_KUBELET" \
    PORT_KUBELET_HEALTH="$PORT_KUBELET_HEALTH" PKI_DIR="$PKI_DIR" SOCKET="$CONTAINERD_SOCKET" DNS_IP="$DNS_IP"
  daemon_ensure kubelet "$NODE_DIR/kubelet.yaml" "$KIT_STATE/kubelet.kubeconfig" -- \
    "$bin/kubelet" --config "$NODE_DIR/kubelet.yaml" --kubeconfig "$KIT_STATE/kubelet.kubeconfig" \
    --root-dir "$NODE_DIR/kubelet" --hostname-override "$NODE_NAME" --node-ip "$NODE_IP"

  local masquerade=()
  bridge_traffic_is_filtered || masquerade=(--masquerade-all)
  daemon_ensure kube-proxy "$KIT_STATE/kube-proxy.kubeconfig" -- \
    "$bin/kube-proxy" --kubeconfig "$KIT_STATE/kube-proxy.kubeconfig" --proxy-mode iptables --cluster-cidr "$POD_CIDR" \
    --hostname-override "$NODE_NAME" --bind-address "$NODE_IP" --conntrack-max-per-core 0 \
    --healthz-bind-address "127.0.0.1:$PORT_PROXY_HEALTH" --metrics-bind-address "127.0.0.1:$PORT_PROXY_METRICS" \
    "${masquerade[@]}"
}

# Only the half of kube-router that enforces NetworkPolicies: between two pods of one bridge, too. It is not always at work: it hears of a new
# pod a moment after that runs, and whoever asks a database in that moment and only once is refused.
policies_up() {
  bridge_traffic_is_filtered ||
    refuse "NetworkPolicies can't be enforced: the kernel does not filter what crosses a bridge; modprobe br_netfilter"
  daemon_ensure kube-router "$ADMIN_KUBECONFIG" -- \
    "$(go_dir kube-router)/kube-router" --kubeconfig "$ADMIN_KUBECONFIG" --hostname-override "$NODE_NAME" \
    --run-firewall --run-router=false --run-service-proxy=false --enable-cni=false --health-port 0 \
    --service-cluster-ip-range "$SERVICE_CIDR"
  kill -CONT "$(daemon_pid kube-router)"
  wait_until 60 "the rules of kube-router" policies_enforced
}

# It hears of nothing more, as if it were very slow.
policies_hold() { kill -STOP "$(daemon_pid kube-router)"; }

policies_down() {
  daemons_stop 5 kube-router
  rules_remove 'KUBE-(ROUTER|POD-FW|NWPLCY)-'
  sets_remove
}

policies_enforced() { daemon_alive kube-router && iptables -w -S FORWARD | grep -q -- '-j KUBE-ROUTER-FORWARD'; }

containerd_up() {
  # Without containerd, whatever its containers left (a reboot, a kill) can only be in the way.
  daemon_alive containerd || node_clean
  node_config cni.conflist cni/10-hks-kit.conflist POD_INTERFACE="$POD_INTERFACE" NODE_DIR="$NODE_DIR" POD_CIDR="$POD_CIDR"
  node_config containerd.toml containerd.toml NODE_DIR="$NODE_DIR" SOCKET="$CONTAINERD_SOCKET" REGISTRY="$REGISTRY" \
    PAUSE_IMAGE="$(image_ref pause)"
  daemon_ensure containerd "$NODE_DIR/containerd.toml" -- containerd --config "$NODE_DIR/containerd.toml" --log-level warn
  daemon_await 30 containerd ctr --address "$CONTAINERD_SOCKET" version
}

node_config() {
  local source="$KIT_DIR/node/$1" target="$NODE_DIR/$2"
  shift 2
  render "$source" "$@" | write_file_if_changed "$target"
}

node_ready() {
  [[ "$(kube get node "$NODE_NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" == True ]] &&
    daemon_alive kubelet
}

# ---- the way back --------------------------------------------------------------------------------

shim_pids() { pgrep -f "^[^ ]*containerd-shim-runc-v2 .*-address $CONTAINERD_SOCKET( |\$)" || true; }

# The first process of every container: when it ends, the kernel ends the rest of its pid namespace.
container_pids() {
  local shim
  for shim in $(shim_pids); do pgrep -P "$shim" || true; done
}

# Kubelet is gone by now, so nothing starts containers again.
containers_stop() {
  local pid grace=$1
  for pid in $(container_pids); do kill -TERM "$pid" 2>/dev/null || true; done
  for ((; grace > 0; grace--)); do
    [[ -n "$(container_pids)" ]] || return 0
    sleep 0.5
  done
  for pid in $(container_pids); do kill -KILL "$pid" 2>/dev/null || true; done
}

# Nothing that a container needs while it runs: processes, mounts, network namespaces, address leases, cgroups.
node_clean() {
  local pid
  for pid in $(container_pids) $(shim_pids); do kill -KILL "$pid" 2>/dev/null || true; done
  wait_until 10 "container processes to end" no_shims
  unmount_below "$NODE_DIR/state"
  unmount_below "$NODE_DIR/kubelet"
  rm -rf --one-file-system "$NODE_DIR/state" "$NODE_DIR/leases" "$CONTAINERD_SOCKET"*
  rm -f /var/lib/cni/results/hks-kit-*
  ip link delete "$POD_INTERFACE" 2>/dev/null || true
  cgroups_remove
}

no_shims() { [[ -z "$(shim_pids)" ]]; }

cgroups_remove() {
  local top
  for top in /sys/fs/cgroup/kubepods /sys/fs/cgroup/*/kubepods; do
    [[ -d "$top" ]] || continue
    find "$top" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done
}
