# shellcheck shell=bash
# etcd and the Kubernetes control plane, as plain processes.

kube() { "$KUBECTL" --kubeconfig "$ADMIN_KUBECONFIG" "$@"; }

control_plane_up() {
  local bin
  bin=$(go_dir kubernetes)
  program_link "$bin/kubectl" "$KUBECTL"
  # No fsync: a test cluster that a power cut destroys is made again, and every test is faster for it.
  daemon_ensure etcd -- "$bin/etcd" --name hks-kit --data-dir "$KIT_STATE/etcd" --log-level warn --unsafe-no-fsync \
    --listen-client-urls "http://127.0.0.1:$PORT_ETCD" --advertise-client-urls "http://127.0.0.1:$PORT_ETCD" \
    --listen-peer-urls "http://127.0.0.1:$PORT_ETCD_PEER" --initial-advertise-peer-urls "http://127.0.0.1:$PORT_ETCD_PEER" \
    --initial-cluster "hks-kit=http://127.0.0.1:$PORT_ETCD_PEER"
  apiserver_start "$bin"
  daemon_await 60 kube-apiserver apiserver_ready

  daemon_ensure kube-controller-manager "$KIT_STATE/kube-controller-manager.kubeconfig" -- \
    "$bin/kube-controller-manager" --kubeconfig "$KIT_STATE/kube-controller-manager.kubeconfig" \
    --bind-address 127.0.0.1 --secure-port "$PORT_CONTROLLER_MANAGER" --leader-elect=false \
    --service-account-private-key-file "$PKI_DIR/sa.key" --root-ca-file "$PKI_DIR/ca.crt" \
    --cluster-signing-cert-file "$PKI_DIR/ca.crt" --cluster-signing-key-file "$PKI_DIR/ca.key" \
    --use-service-account-credentials --allocate-node-cidrs --cluster-cidr "$POD_CIDR" --node-cidr-mask-size 24
  daemon_ensure kube-scheduler "$KIT_STATE/kube-scheduler.kubeconfig" -- \
    "$bin/kube-scheduler" --kubeconfig "$KIT_STATE/kube-scheduler.kubeconfig" \
    --bind-address 127.0.0.1 --secure-port "$PORT_SCHEDULER" --leader-elect=false
}

# Bound to the node's address alone: pods reach it there behind the `kubernetes` Service, and so does the host.
apiserver_start() {
  daemon_ensure kube-apiserver "$PKI_DIR/apiserver.crt" -- "$1/kube-apiserver" \
    --etcd-servers "http://127.0.0.1:$PORT_ETCD" \
    --bind-address "$NODE_IP" --advertise-address "$NODE_IP" --secure-port "$PORT_APISERVER" \
    --tls-cert-file "$PKI_DIR/apiserver.crt" --tls-private-key-file "$PKI_DIR/apiserver.key" \
    --client-ca-file "$PKI_DIR/ca.crt" \
    --service-account-key-file "$PKI_DIR/sa.key" --service-account-signing-key-file "$PKI_DIR/sa.key" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-cluster-ip-range "$SERVICE_CIDR" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --allow-privileged --kubelet-preferred-address-types InternalIP \
    --kubelet-client-certificate "$PKI_DIR/admin.crt" --kubelet-client-key "$PKI_DIR/admin.key" \
    --kubelet-certificate-authority "$PKI_DIR/ca.crt" \
    --requestheader-client-ca-file "$PKI_DIR/front-proxy-ca.crt" --requestheader-allowed-names front-proxy-client \
    --requestheader-extra-headers-prefix X-Remote-Extra- --requestheader-group-headers X-Remote-Group \
    --requestheader-username-headers X-Remote-User \
    --proxy-client-cert-file "$PKI_DIR/front-proxy-client.crt" --proxy-client-key-file "$PKI_DIR/front-proxy-client.key"
}

apiserver_ready() {
  curl -sf --max-time 2 --noproxy '*' --cacert "$PKI_DIR/ca.crt" --cert "$PKI_DIR/admin.crt" --key "$PKI_DIR/admin.key" \
    "$API_URL/readyz"
}
