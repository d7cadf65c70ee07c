# shellcheck shell=bash
# The node's address, the pods' way out, and the removal of both. Nothing here binds a public address.

RULE_TAG=hks-kit # comment on every rule of ours, by which it is found again
FORWARD_BEFORE="$RUN_DIR/ip_forward.before"

network_up() {
  if ! ip link show "$NODE_INTERFACE" &>/dev/null; then
    ip link add "$NODE_INTERFACE" type bridge
  fi
  ip address replace "$NODE_IP/32" dev "$NODE_INTERFACE"
  ip link set "$NODE_INTERFACE" up

  modprobe br_netfilter 2>/dev/null || true # may be built in
  [[ -f "$FORWARD_BEFORE" ]] || write_file "$FORWARD_BEFORE" </proc/sys/net/ipv4/ip_forward
  echo 1 >/proc/sys/net/ipv4/ip_forward

  # Hosts with a container engine drop forwarded packets unless told otherwise.
  rule_ensure filter FORWARD -i "$POD_INTERFACE" -j ACCEPT
  rule_ensure filter FORWARD -o "$POD_INTERFACE" -j ACCEPT
  # A Service's address that kube-proxy does not know yet leads nowhere, so that a client tries again; it must not lead to
  # whoever the machine's own gateway is.
  rule_ensure filter FORWARD -d "$SERVICE_CIDR" -j DROP
  rule_ensure filter OUTPUT -d "$SERVICE_CIDR" -j DROP
  rule_ensure nat POSTROUTING -s "$POD_CIDR" ! -d "$POD_CIDR" -j MASQUERADE
}

rule_ensure() {
  local table=$1 chain=$2
  shift 2
  iptables -w -t "$table" -C "$chain" "$@" -m comment --comment "$RULE_TAG" 2>/dev/null ||
    iptables -w -t "$table" -I "$chain" "$@" -m comment --comment "$RULE_TAG"
}

# Replies between two pods of one bridge must pass the host's address translation, or a Service's address
# would answer from a pod's. The kernel does it by this switch; without it kube-proxy masquerades everything.
bridge_traffic_is_filtered() {
  [[ "$(cat /proc/sys/net/bridge/bridge-nf-call-iptables 2>/dev/null)" == 1 ]]
}

network_down() {
  rules_remove KUBE- "$RULE_TAG"
  sets_remove
  ip link delete "$POD_INTERFACE" 2>/dev/null || true
  ip link delete "$NODE_INTERFACE" 2>/dev/null || true
  if [[ -f "$FORWARD_BEFORE" ]]; then
    cat "$FORWARD_BEFORE" >/proc/sys/net/ipv4/ip_forward
    rm -f "$FORWARD_BEFORE"
  fi
}

# The addresses that kube-router's rules name, once no rule does.
sets_remove() {
  local set
  for set in $(ipset list -n 2>/dev/null | grep '^KUBE-' || true); do ipset destroy "$set" || true; done
}

# rules_remove CHAINS [TAG]: chains whose names begin so (those of kube-proxy, kubelet and kube-router with KUBE-), what leads to them,
# and rules with a comment
rules_remove() {
  local family table
  for family in iptables ip6tables; do
    command -v "$family-save" >/dev/null || continue
    for table in filter nat mangle; do
      rules_of_table "$family" "$table" "$@" | "$family-restore" -w --noflush 2>/dev/null || true
    done
  done
}

# A script that deletes exactly these rules and chains, so that rules which somebody else adds meanwhile stay.
rules_of_table() {
  "$1-save" -t "$2" 2>/dev/null | awk -v table="$2" -v chains="$3" -v tag="${4:-}" '
    BEGIN { print "*" table }
    $0 ~ "^:" chains { chain = substr($1, 2); flush = flush "-F " chain "\n"; drop = drop "-X " chain "\n" }
    $0 ~ "^-A " chains { next }
    /^-A / && ($0 ~ " -j " chains || tag != "" && (index($0, "--comment " tag " ") || $0 ~ "--comment \"?" tag "\"?$")) { sub(/^-A/, "-D"); print }
    END { printf "%s%sCOMMIT\n", flush, drop }'
}
