# shellcheck shell=bash
# Where the story takes place: the kit's vCluster and forge, or the cluster of HKS_TEST_KUBECONFIG and a local repository.

STACK=todo
PROJECT=demo
LISTEN=127.0.0.1:18088
PAGE="http://$LISTEN"
WEBHOOK_PATH=/webhooks/github

if [[ -n "${HKS_TEST_KUBECONFIG:-}" ]]; then
  OWN_CLUSTER=1
  DEMO_DIR="${HKS_DEMO_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/hks-demo}"
  KUBECTL=$(command -v "${HKS_TEST_KUBECTL:-kubectl}" || true)
  PROJECT_KUBECONFIG=$(realpath -- "$HKS_TEST_KUBECONFIG")
  IMAGES="${HKS_TEST_REGISTRY:-127.0.0.1:5000}"
  HOST_KUBECONFIG=$PROJECT_KUBECONFIG
  DOMAIN="${HKS_TEST_DOMAIN:-apps.localhost:18080}"
  INGRESS_CLASS="${HKS_TEST_INGRESS_CLASS:-}"
  CURL=(curl -s --max-time 10)
else
  OWN_CLUSTER=''
  DEMO_DIR="${HKS_DEMO_STATE:-$KIT_STATE/demo}"
  PROJECT_KUBECONFIG=$VCLUSTER_KUBECONFIG
  HOST_KUBECONFIG=$ADMIN_KUBECONFIG
  IMAGES=$REGISTRY
  DOMAIN=$INGRESS_DOMAIN
  INGRESS_CLASS=traefik
  # a proxy of the environment has no business between two processes of one machine
  CURL=(curl -s --max-time 10 --noproxy '*' --resolve "*:$PORT_INGRESS:127.0.0.1")
fi

# Processes of the story are kept apart from those of the kit.
RUN_DIR="$DEMO_DIR/run"
LOG_DIR="$DEMO_DIR/log"
WORK="$DEMO_DIR/work"

HKS="${HKS_DEMO_PROGRAM:-${CARGO_TARGET_DIR:-$ROOT/target}/release/hks}"

kube_plain() { "$KUBECTL" --kubeconfig "$PROJECT_KUBECONFIG" "$@"; }
kube() { kube_plain --namespace "$PROJECT" "$@"; }

place_ready() {
  if [[ -n "$OWN_CLUSTER" ]]; then
    [[ -n "$KUBECTL" ]] || fail "kubectl is missing" "install it, or unset HKS_TEST_KUBECONFIG to use the kit's cluster"
    kube_plain version >/dev/null || fail "the cluster of HKS_TEST_KUBECONFIG does not answer"
    good "the cluster of $HKS_TEST_KUBECONFIG answers"
  elif bash "$KIT_DIR/cluster" status >/dev/null 2>&1; then
    good "the test cluster is up: Kubernetes, vCluster $VCLUSTER, registry, forge"
  else
    fact "making the test cluster; the first time this takes up to 25 minutes, later less than one"
    bash "$KIT_DIR/cluster" up || fail "the test cluster did not come up" "see above; run it again to go on from there"
    good "the test cluster is up"
  fi
  local rate
  rate=$(curl --help all | grep -c -- '--rate ' || true)
  ((rate)) || fail "curl is too old to ask at a steady rate" "install curl 7.84 or newer"
}

# project_clear NAMESPACE KUBECTL...: a namespace that an earlier story left goes as a whole: it is of the story alone. Pods and
# volumes go first, since a namespace that waits for their end looks again only every ten seconds.
project_clear() {
  local namespace=$1 kubectl=("${@:2}")
  "${kubectl[@]}" get namespace "$namespace" >/dev/null 2>&1 || return 0
  fact "removing namespace $namespace"
  "${kubectl[@]}" -n "$namespace" delete deployments,statefulsets --all >/dev/null
  "${kubectl[@]}" -n "$namespace" delete pods,persistentvolumeclaims --all --grace-period=1 --timeout=60s >/dev/null || true
  "${kubectl[@]}" delete namespace "$namespace" --timeout=180s >/dev/null || fail "namespace $namespace can't be deleted"
}

# What an earlier story left.
place_clear() {
  daemons_stop 20 hks
  project_clear "$PROJECT" kube_plain
  repository_delete
  rm -rf "$DEMO_DIR"
}
