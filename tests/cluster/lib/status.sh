# shellcheck shell=bash
# What runs and what does not. Asks each component itself: a process that hangs is not up.

DAEMONS=(etcd kube-apiserver kube-controller-manager kube-scheduler registry containerd kubelet kube-proxy forge)

# component_check NAME: prints a remark; the result is its state
component_check() {
  case $1 in
    kube-apiserver) apiserver_ready >/dev/null && echo "$API_URL" ;;
    registry) http_ok "http://$REGISTRY/v2/" && echo "http://$REGISTRY" ;;
    forge) forge_answers >/dev/null && echo "$FORGE_URL" ;;
    etcd | kube-controller-manager | kube-scheduler | containerd | kubelet | kube-proxy)
      local pid
      pid=$(daemon_pid "$1") && echo "pid $pid"
      ;;
    node) node_ready && echo "$NODE_NAME, $NODE_IP" ;;
    coredns) dns_ready && echo "$DNS_IP" ;;
    local-path) deployment_ready local-path ;;
    metrics-server) metrics_answer >/dev/null && echo "kubectl top" ;;
    traefik) http_ok "http://127.0.0.1:$PORT_INGRESS_ADMIN/ping" && echo "http://NAME.$INGRESS_DOMAIN/" ;;
    vcluster) vcluster_answers "$VCLUSTER" >/dev/null && echo "$VCLUSTER in $VCLUSTER_NAMESPACE" ;;
  esac 2>/dev/null
}

COMPONENTS=("${DAEMONS[@]}" node coredns local-path metrics-server traefik vcluster)

http_ok() { curl -sf --max-time 2 --noproxy '*' -o /dev/null "$1"; }

# Of the pod itself: what the API server knows of it is old for a while after a restart.
dns_ready() {
  local address
  address=$(kube -n kube-system get pods -l k8s-app=kube-dns -o 'jsonpath={.items[0].status.podIP}') && http_ok "http://$address:8181/ready"
}

deployment_ready() {
  [[ "$(kube -n kube-system get deployment "$1" -o 'jsonpath={.status.readyReplicas}')" == 1 ]] && echo "kube-system"
}

# All at once: a component that hangs costs its own timeout, not the sum.
status_lines() {
  local name folder remark
  folder=$(mktemp -d)
  for name in "${COMPONENTS[@]}"; do
    { remark=$(component_check "$name") && printf '%s\tup\t%s\n' "$name" "$remark" || printf '%s\tdown\t\n' "$name"; } >"$folder/$name" &
  done
  wait
  for name in "${COMPONENTS[@]}"; do cat "$folder/$name"; done
  rm -rf "$folder"
}

status_quiet() { ! status_lines | grep -P '\tdown\t'; }

# status [-o json]
status_print() {
  local lines
  lines=$(status_lines)
  case "${1:-}${2:-}" in
    '') table <<<"$lines" ;;
    -ojson) jq -Rs 'split("\n") | map(select(. != "") | split("\t") | {component: .[0], state: .[1], detail: .[2]}) | {up: all(.state == "up"), components: .}' <<<"$lines" ;;
    *) die "unknown argument '${1:-}'" "usage: cluster status [-o json]" ;;
  esac
  ! grep -qP '\tdown\t' <<<"$lines"
}

table() {
  local name state remark
  printf '%-24s %-6s %s\n' COMPONENT STATE DETAIL
  while IFS=$'\t' read -r name state remark; do printf '%-24s %-6s %s\n' "$name" "$state" "$remark"; done
}

env_print() {
  [[ -f "$ADMIN_KUBECONFIG" ]] || die "there is no test cluster yet" "make one: tests/cluster/cluster up"
  local pair
  for pair in \
    HKS_KIT_KUBECONFIG="$ADMIN_KUBECONFIG" \
    HKS_KIT_KUBECTL="$KUBECTL" \
    HKS_KIT_KWOK="$KWOK" \
    HKS_KIT_VCLUSTER="$VCLUSTER" \
    HKS_KIT_VCLUSTER_NAMESPACE="$VCLUSTER_NAMESPACE" \
    HKS_KIT_VCLUSTER_KUBECONFIG="$VCLUSTER_KUBECONFIG" \
    HKS_KIT_VCLUSTER_CHART="$(go_dir vcluster)/chart" \
    HKS_KIT_VCLUSTER_VALUES="$KIT_STATE/vcluster-values.yaml" \
    HKS_KIT_HELM="$(go_dir helm)/helm" \
    HKS_KIT_REGISTRY="$REGISTRY" \
    HKS_KIT_DOMAIN="$INGRESS_DOMAIN" \
    HKS_KIT_TLS_DOMAIN="$INGRESS_TLS_DOMAIN" \
    HKS_KIT_CA="$PKI_DIR/ca.crt" \
    HKS_KIT_GATEWAY="$GATEWAY" \
    HKS_KIT_FORGE_URL="$FORGE_URL" \
    HKS_KIT_FORGE_USER="$FORGE_ADMIN" \
    HKS_KIT_FORGE_TOKEN_FILE="$FORGE_TOKEN_FILE" \
    HKS_KIT_FORGE_PASSWORD_FILE="$FORGE_PASSWORD_FILE"; do
    printf 'export %s=%q\n' "${pair%%=*}" "${pair#*=}"
  done
}
