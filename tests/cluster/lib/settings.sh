# shellcheck shell=bash
# Every path, port, address and name of the kit, in one place.

KIT_CACHE="${HKS_KIT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hks-kit}" # survives `reset`; safe to delete by hand
KIT_STATE="${HKS_KIT_STATE:-/var/lib/hks-kit}"                        # the cluster itself; deleted by `reset`
KIT_JOBS="${HKS_KIT_JOBS:-$(nproc)}"                                  # compilers at once

# Ports, interfaces and iptables belong to the machine, not to a state folder: one lock for the machine.
KIT_LOCK=/run/hks-kit.lock

GO_MODULES="$KIT_DIR/go"
MANIFESTS="$KIT_DIR/manifests"
APP_DIR="$KIT_DIR/../../examples/hexabase/app"
STANDIN_DIR="$KIT_DIR/../standin"

RUN_DIR="$KIT_STATE/run"
LOG_DIR="$KIT_STATE/log"
PKI_DIR="$KIT_STATE/pki"
NODE_DIR="$KIT_STATE/node"
FORGE_DIR="$KIT_STATE/forge"
VOLUMES_DIR="$KIT_STATE/volumes"
CONTAINERD_SOCKET="$NODE_DIR/containerd.sock"
KUBECTL="$KIT_STATE/bin/kubectl" # a link, so that status and down work whatever Go is installed now
KWOK="$KIT_STATE/bin/kwok"
ADMIN_KUBECONFIG="$KIT_STATE/admin.kubeconfig"
VCLUSTER_KUBECONFIG="$KIT_STATE/vcluster.kubeconfig"

# Loopback ports. Unusual ones, so that a cluster the developer already runs is not disturbed.
PORT_ETCD=21000
PORT_ETCD_PEER=21001
PORT_APISERVER=21002
PORT_CONTROLLER_MANAGER=21003
PORT_SCHEDULER=21004
PORT_KUBELET=21010
PORT_KUBELET_HEALTH=21011
PORT_PROXY_HEALTH=21012
PORT_PROXY_METRICS=21013
PORT_REGISTRY=5000
PORT_INGRESS=18080
PORT_INGRESS_TLS=18443
PORT_INGRESS_ADMIN=18081
PORT_FORGE=3300

# The node needs an address that is neither loopback (refused by kubelet) nor public: a bridge of our own carries it.
NODE_NAME=node1
NODE_INTERFACE=hksnode
NODE_IP=10.99.0.1
POD_INTERFACE=hksbr0
POD_CIDR=10.244.0.0/24
SERVICE_CIDR=10.96.0.0/16
KUBERNETES_IP=10.96.0.1
DNS_IP=10.96.0.10

API_URL="https://$NODE_IP:$PORT_APISERVER"
REGISTRY="127.0.0.1:$PORT_REGISTRY"
INGRESS_DOMAIN="apps.localhost:$PORT_INGRESS" # names under .localhost resolve to loopback everywhere
INGRESS_TLS_DOMAIN="apps.localhost:$PORT_INGRESS_TLS"
GATEWAY=gateways/public # as projects of the vCluster see it
VCLUSTER=team-a
VCLUSTER_NAMESPACE="vcluster-$VCLUSTER"

# vcluster_file NAME: its kubeconfig
vcluster_file() { if [[ "$1" == "$VCLUSTER" ]]; then echo "$VCLUSTER_KUBECONFIG"; else echo "$KIT_STATE/vcluster-$1.kubeconfig"; fi; }

FORGE_URL="http://127.0.0.1:$PORT_FORGE"
FORGE_ADMIN=hks
FORGE_ACCOUNT=hks-forge # the forge refuses to run as root
FORGE_TOKEN_FILE="$KIT_STATE/forge-token"
FORGE_PASSWORD_FILE="$KIT_STATE/forge-password"
