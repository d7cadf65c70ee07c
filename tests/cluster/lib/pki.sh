# shellcheck shell=bash
# One authority for the cluster, one for the aggregation layer (the API server must not take the first's
# client certificates for a proxy's), and an identity for every component.

PKI_DAYS=3650

pki_ensure() {
  if [[ ! -d "$PKI_DIR" ]]; then
    rm -rf "$PKI_DIR.new"
    mkdir -p "$PKI_DIR.new"
    chmod 700 "$PKI_DIR.new"
    (cd "$PKI_DIR.new" && pki_create)
    mv "$PKI_DIR.new" "$PKI_DIR"
  fi
  # renamed when it is whole
  [[ -f "$PKI_DIR/public.crt" ]] || (
    cd "$PKI_DIR"
    certificate ca public.new /CN=hks-kit-public "DNS:*.${INGRESS_DOMAIN%:*}"
    mv public.new.key public.key
    mv public.new.crt public.crt
  )
  local name
  for name in admin kubelet kube-controller-manager kube-scheduler kube-proxy; do kubeconfig "$name"; done
}

pki_create() {
  authority ca hks-kit
  authority front-proxy-ca hks-kit-front-proxy
  openssl ecparam -genkey -noout -name prime256v1 -out sa.key
  certificate ca apiserver /CN=kube-apiserver \
    "IP:$NODE_IP,IP:127.0.0.1,IP:$KUBERNETES_IP,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
  certificate ca kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" "IP:$NODE_IP,DNS:$NODE_NAME"
  certificate ca admin /O=system:masters/CN=hks-kit-admin
  certificate ca kube-controller-manager /CN=system:kube-controller-manager
  certificate ca kube-scheduler /CN=system:kube-scheduler
  certificate ca kube-proxy /CN=system:kube-proxy
  certificate front-proxy-ca front-proxy-client /CN=front-proxy-client
}

new_key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)

authority() { openssl req -x509 "${new_key[@]}" -keyout "$1.key" -out "$1.crt" -subj "/CN=$2" -days "$PKI_DAYS"; }

# certificate AUTHORITY NAME SUBJECT [ALTERNATIVE_NAMES]
certificate() {
  openssl req "${new_key[@]}" -keyout "$2.key" -out "$2.csr" -subj "$3"
  openssl x509 -req -in "$2.csr" -CA "$1.crt" -CAkey "$1.key" -CAcreateserial -out "$2.crt" -days "$PKI_DAYS" \
    -extfile <(
      echo "extendedKeyUsage=serverAuth,clientAuth"
      [[ -z "${4:-}" ]] || echo "subjectAltName=$4"
    )
}

# Self-contained (data, not paths): the file may be copied anywhere.
kubeconfig() {
  write_file_if_changed "$KIT_STATE/$1.kubeconfig" 600 <<EOF
apiVersion: v1
kind: Config
clusters:
- name: hks-kit
  cluster: {server: "$API_URL", certificate-authority-data: $(base64 -w0 "$PKI_DIR/ca.crt")}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 "$PKI_DIR/$1.crt"), client-key-data: $(base64 -w0 "$PKI_DIR/$1.key")}
contexts:
- name: hks-kit
  context: {cluster: hks-kit, user: $1}
current-context: hks-kit
EOF
}
