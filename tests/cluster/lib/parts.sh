# shellcheck shell=bash
# What runs inside of the cluster: names, volumes, metrics, public URLs, and the vCluster.

# part_apply DEPLOYMENT MANIFEST_VALUES...
part_apply() {
  local name=$1
  shift
  render "$MANIFESTS/$name.yaml" IMAGE="$(image_ref "$name")" "$@" | kube apply -f -
}

part_up() {
  part_apply "$@"
  kube -n kube-system rollout status "deployment/$1" --timeout 90s
}

names_up() { part_up coredns DNS_IP="$DNS_IP"; }

volumes_up() { part_up local-path HELPER_IMAGE="$(image_ref busybox)" VOLUMES_DIR="$VOLUMES_DIR"; }

# Ready only after its first rounds of measuring: `answers` waits for it, at the end.
metrics_up() { part_apply metrics-server; }

# The kinds of the Gateway API, of the version that the vCluster is made for; it looks for them at its start.
gateway_api_up() {
  local version stamp="$KIT_STATE/stamps/gateway-api" folder
  version=$(module_version vcluster sigs.k8s.io/gateway-api)
  [[ "$(cat "$stamp" 2>/dev/null)" != "$version" ]] || return 0
  folder=$(cd "$GO_MODULES/vcluster" && go mod download sigs.k8s.io/gateway-api && go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)
  kube apply --server-side --force-conflicts -f "$folder/config/crd/standard"
  printf '%s\n' "$version" | write_file "$stamp"
}

urls_up() {
  kube -n kube-system create secret tls public-tls --cert "$PKI_DIR/public.crt" --key "$PKI_DIR/public.key" \
    --dry-run=client -o yaml | kube apply -f -
  part_up traefik PORT_INGRESS="$PORT_INGRESS" PORT_INGRESS_TLS="$PORT_INGRESS_TLS" PORT_INGRESS_ADMIN="$PORT_INGRESS_ADMIN"
}

# vcluster_up [NAME]: the vCluster of the tests, or another one beside it
vcluster_up() {
  local name=${1:-$VCLUSTER} values chart key stamp
  values="$KIT_STATE/vcluster-values.yaml" chart="$(go_dir vcluster)/chart" stamp="$KIT_STATE/stamps/vcluster"
  [[ "$name" == "$VCLUSTER" ]] || stamp+="-$name"
  render "$KIT_DIR/vcluster-values.yaml" REGISTRY="$REGISTRY" GATEWAY="$GATEWAY" KUBERNETES_TAG="$(image_tag kubernetes)" \
    VCLUSTER_TAG="$(image_tag vcluster)" COREDNS_IMAGE="$(image_ref coredns)" \
    BUSYBOX_TAG="$(image_tag busybox)" | write_file_if_changed "$values"
  key=$({ echo "$chart"; cat "$values"; } | hash_text)
  if [[ "$(cat "$stamp" 2>/dev/null)" != "$key" ]]; then
    wait_until 90 "metrics-server" metrics_answer # the vCluster looks for it once, at its start
    vcluster_install "$name" "$chart" "$values"
    printf '%s\n' "$key" | write_file "$stamp"
  fi
  wait_until 180 "the vCluster $name" vcluster_answers "$name"
}

vcluster_install() {
  local helm
  helm="$(go_dir helm)/helm"
  # A killed helm leaves a release "pending", which blocks every later one.
  kube -n "vcluster-$1" delete secret -l "owner=helm,name=$1,status in (pending-install,pending-upgrade)" --ignore-not-found
  HELM_CACHE_HOME="$KIT_STATE/helm" HELM_CONFIG_HOME="$KIT_STATE/helm" HELM_DATA_HOME="$KIT_STATE/helm" \
    "$helm" --kubeconfig "$ADMIN_KUBECONFIG" upgrade --install "$1" "$2" \
    --namespace "vcluster-$1" --create-namespace --values "$3" --timeout 3m
}

# vcluster_gone NAME: one that was made beside that of the tests
vcluster_gone() {
  rm -f "$KIT_STATE/stamps/vcluster-$1" "$(vcluster_file "$1")"
  kube delete namespace "vcluster-$1" --ignore-not-found --timeout 180s
}

vcluster_answers() {
  [[ "$(kube -n "vcluster-$1" get statefulset "$1" -o 'jsonpath={.status.readyReplicas}')" == 1 ]] || return 1
  vcluster_kubeconfig "$1" || return 1
  # Its own DNS runs as a pod of the vCluster: when that is ready, syncing works.
  [[ "$("$KUBECTL" --kubeconfig "$(vcluster_file "$1")" -n kube-system get deployment coredns -o 'jsonpath={.status.readyReplicas}')" == 1 ]]
}

# The syncer renews the credentials at its start, so the file is written anew on every `up`.
vcluster_kubeconfig() {
  local address secret
  address=$(kube -n "vcluster-$1" get service "$1" -o 'jsonpath={.spec.clusterIP}') || return 1
  secret=$(kube -n "vcluster-$1" get secret "vc-$1" -o json) || return 1
  jq -r --arg server "https://$address:443" '.data | {
    apiVersion: "v1", kind: "Config", "current-context": "vcluster",
    clusters: [{name: "vcluster", cluster: {server: $server, "tls-server-name": "localhost", "certificate-authority-data": .["certificate-authority"]}}],
    users: [{name: "vcluster", user: {"client-certificate-data": .["client-certificate"], "client-key-data": .["client-key"]}}],
    contexts: [{name: "vcluster", context: {cluster: "vcluster", user: "vcluster"}}]
  }' <<<"$secret" | write_file_if_changed "$(vcluster_file "$1")" 600
}

# Simulated nodes and pods for tests of scale: started by those tests, against this API server.
kwok_up() {
  go_build kwok
  program_link "$(go_dir kwok)/kwok" "$KWOK"
}

metrics_answer() { kube get --raw /apis/metrics.k8s.io/v1beta1/nodes | jq -e '.items | length > 0'; }

# The last step: everything at once, after the parts had time to start side by side.
answers() {
  wait_until 90 "metrics-server" metrics_answer
  wait_until 30 "every component" status_quiet
}
