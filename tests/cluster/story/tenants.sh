# shellcheck shell=bash
# Three tenants in two vClusters under one daemon, one of them hostile: what she tries, and that the others do not notice.

ACTS=10
LISTEN=127.0.0.1:18089
PAGE="http://$LISTEN"
OTHER_VCLUSTER=team-b
declare -A CLUSTER_OF=([shop]=team-a [blog]=$OTHER_VCLUSTER [mallory]=team-a)
TENANTS=(shop blog mallory)
declare -A URL_OF NEWEST

# of TENANT KUBECTL_ARGUMENTS...: as somebody with the tenant's rights, in her project
of() { "$KUBECTL" --kubeconfig "$(vcluster_file "${CLUSTER_OF[$1]}")" --namespace "$1" "${@:2}"; }

# asked TENANT PATH [CURL_ARGUMENTS...]: the daemon's endpoint, with the token of the tenant
asked() { "${CURL[@]}" -H "@$DEMO_DIR/$1.header" "${@:3}" "$PAGE$2"; }

# told TENANT FILTER: of her newest commit, as the daemon tells her
told() { asked "$1" "/api/v1/stacks/$STACK?source=$1" | jq -r "$2" 2>/dev/null; }

tenants_clear() {
  local tenant
  daemons_stop 20 hks
  for tenant in "${TENANTS[@]}"; do
    [[ -s "$(vcluster_file "${CLUSTER_OF[$tenant]}")" ]] || continue
    project_clear "$tenant" "$KUBECTL" --kubeconfig "$(vcluster_file "${CLUSTER_OF[$tenant]}")"
  done
  rm -rf "$DEMO_DIR"
}

tenants_config() {
  local tenant
  {
    cat <<END
cluster: demo
listen: $LISTEN
publicUrl: $PAGE
dataDir: $DEMO_DIR/data
domain: $DOMAIN
ingressClass: $INGRESS_CLASS
images: {postgres: "$IMAGES/postgres:{version}"}
kubeconfig: $HOST_KUBECONFIG
access:
  tokens:
END
    for tenant in "${TENANTS[@]}"; do echo "    $tenant: {token: {file: $DEMO_DIR/$tenant.token}, sources: [$tenant]}"; done
    echo "sources:"
    for tenant in "${TENANTS[@]}"; do
      echo "  $tenant: {target: {vcluster: {name: ${CLUSTER_OF[$tenant]}}}, namespace: $tenant, git: {url: $DEMO_DIR/$tenant.git}}"
    done
  } | write_file "$DEMO_DIR/hks-daemon.yaml"
}

# tenant_push TENANT MESSAGE: what stands in her folder. Sets commit and pushed_at, and NEWEST of her.
tenant_push() {
  WORK="$DEMO_DIR/$1"
  git_here add -A
  git_here commit -q --allow-empty -m "$2"
  commit=$(git_here rev-parse HEAD)
  git_here push -q "$DEMO_DIR/$1.git" HEAD:main 2>"$LOG_DIR/git" || fail "git push failed" "$(cat "$LOG_DIR/git")"
  pushed_at=$(now_ms)
  NEWEST[$1]=$commit
}

ready() { [[ "$(told "$1" '.state + " " + .appliedRevision')" == "settled ${NEWEST[$1]}" ]]; }

# refused TENANT PATTERN: soon, for this reason
refused() {
  soon 60 refused_now "$@" || fail "$1 should have been refused for $2" "$(asked "$1" "/api/v1/stacks/$STACK?source=$1" | head -c 1500)"
  good "refused after $(since "$pushed_at"): $(grep -oE "[^\"]*$2[^\"]*" "$DEMO_DIR/answer" | head -n 1 | cut -c1-200)"
}
refused_now() {
  asked "$1" "/api/v1/stacks/$STACK?source=$1" >"$DEMO_DIR/answer"
  asked "$1" "/api/v1/status" >>"$DEMO_DIR/answer"
  grep -qE "$2" "$DEMO_DIR/answer"
}

uids() { of shop get deployment,statefulset,persistentvolumeclaim,secret,service,ingress -o 'jsonpath={.items[*].metadata.uid}'; }

act_places() {
  act "A real cluster with two vClusters"
  place_ready
  [[ -s "$(vcluster_file "$OTHER_VCLUSTER")" ]] || fact "making vCluster $OTHER_VCLUSTER beside $VCLUSTER: about a minute"
  bash "$KIT_DIR/cluster" vcluster "$OTHER_VCLUSTER" >"$DEMO_DIR.vcluster.log" 2>&1 ||
    fail "vCluster $OTHER_VCLUSTER did not come up" "$(tail -n 3 "$DEMO_DIR.vcluster.log")"
  good "vClusters $VCLUSTER and $OTHER_VCLUSTER"
}

act_tenants() {
  act "Three tenants, three repositories, one daemon"
  local tenant
  tenants_clear
  mkdir -p "$DEMO_DIR" "$LOG_DIR"
  for tenant in "${TENANTS[@]}"; do
    of "$tenant" create namespace "$tenant" >/dev/null || fail "namespace $tenant can't be made"
    git init -q --bare -b main "$DEMO_DIR/$tenant.git"
    WORK="$DEMO_DIR/$tenant"
    mkdir "$WORK"
    git_here init -q -b main
    openssl rand -hex 24 | write_file "$DEMO_DIR/$tenant.token" 600
    printf 'Authorization: Bearer %s\n' "$(cat "$DEMO_DIR/$tenant.token")" | write_file "$DEMO_DIR/$tenant.header" 600
    good "$tenant: project $tenant in vCluster ${CLUSTER_OF[$tenant]}, a token that shows $tenant and nothing else"
  done
  tenants_config
  hks_run
  good "hks run --config $DEMO_DIR/hks-daemon.yaml: pid $(daemon_pid hks)"
}

act_peace() {
  act "Shop and blog push the same hks.yaml, each gets an app, a database and a URL of its own"
  local tenant
  for tenant in shop blog; do
    sed "s|127.0.0.1:5000/|$IMAGES/|; s|\(hexabase-web\):.*|\1:1.0.0|" "$ROOT/examples/hexabase/hks.yaml" >"$DEMO_DIR/$tenant/hks.yaml"
    tenant_push "$tenant" "version 1.0.0"
  done
  for tenant in shop blog; do
    soon 300 ready "$tenant" || fail "$tenant did not become ready" "$(asked "$tenant" "/api/v1/stacks/$STACK?source=$tenant" | head -c 1500)"
    URL_OF[$tenant]=$(told "$tenant" '.urls[0]')
    good "$tenant: ${URL_OF[$tenant]}"
  done
  [[ "${URL_OF[shop]}" != "${URL_OF[blog]}" ]] || fail "two tenants have one URL"
  url=${URL_OF[shop]} note="written by a customer of the shop at $(date +%T)"
  "${CURL[@]}" -f -H 'Content-Type: application/json' --data "$(jq -n --arg text "$note" '{text: $text}')" "$url/api/notes" >/dev/null ||
    fail "the shop does not store a row"
  note_kept
  good "a row is in the shop's database"
  shop_uids=$(uids)
}

hostile() { printf 'apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {name: %s%s}\n%s\n' "$STACK" "${2:-}" "$1" >"$DEMO_DIR/mallory/hks.yaml"; }

act_names() {
  act "Mallory wants the shop's address, and the shop's project"
  local host=${url#*//}
  hostile "apps: {web: {image: \"$IMAGES/hexabase-web:1.0.0\", ports: {http: 8080}}}
ingress: {public: {host: \"${host%%:*}\", paths: {/: web}}}"
  tenant_push mallory "the shop's host"
  fact "ingress: {public: {host: ${host%%:*}}}"
  refused mallory 'is not one that this repository may have'
  hostile "apps: {web: {image: \"$IMAGES/hexabase-web:1.0.0\"}}" ", namespace: shop"
  tenant_push mallory "the shop's namespace"
  fact "metadata: {name: $STACK, namespace: shop}"
  refused mallory 'unknown key `namespace`'
  answers /ready 200 || fail "the shop does not answer"
  [[ "$(uids)" == "$shop_uids" ]] || fail "something of the shop was made anew"
  good "the shop answers, and nothing of it was touched"
}

act_copy() {
  act "Mallory copies the shop's repository, name and all"
  cp "$DEMO_DIR/shop/hks.yaml" "$DEMO_DIR/mallory/hks.yaml"
  tenant_push mallory "a copy"
  soon 300 ready mallory || fail "a copy is a Stack like any other" "$(asked mallory "/api/v1/stacks/$STACK?source=mallory" | head -c 1500)"
  URL_OF[mallory]=$(told mallory '.urls[0]')
  [[ "${URL_OF[mallory]}" != "$url" ]] || fail "the copy has the shop's URL"
  good "it runs in her own project, at ${URL_OF[mallory]}"
  "${CURL[@]}" "${URL_OF[mallory]}/api/notes" | jq -e --arg text "$note" 'all(.[]; .text != $text)' >/dev/null || fail "the copy shows the shop's data"
  good "and her database has none of the shop's rows"
}

act_forgery() {
  act "Mallory writes hks's own objects in her project, in the shop's name"
  of shop get deployment "$STACK-web" -o json | jq 'del(.metadata.uid, .metadata.resourceVersion, .status) | .metadata.namespace = "mallory" | .metadata.name = "forged"' |
    of mallory apply --server-side --force-conflicts -f - >/dev/null || fail "she may write in her own project"
  # whatever hks keeps there, emptied or filled with nonsense
  of mallory get configmap -l app.kubernetes.io/managed-by=hks -o name | while read -r name; do
    of mallory patch "$name" --type merge -p '{"data": {"forged": "yes"}, "metadata": {"annotations": {"hks.hexabase.ai/forged": "yes"}}}' >/dev/null
  done
  # once her next commit is deployed, the daemon has seen all of it
  tenant_push mallory "after the forgery"
  soon 60 ready mallory || fail "her own Stack is not told any more" "$(asked mallory "/api/v1/stacks/$STACK?source=mallory" | head -c 1500)"
  [[ "$(uids)" == "$shop_uids" ]] || fail "something of the shop was made anew"
  soon 5 ready shop || fail "the shop is told otherwise" "$(told shop .state)"
  note_kept
  good "the shop is ready, its row is there, and nothing of it was touched"
}

# A thousand folders, a tree of 500 levels, a link out of the repository, files that cost as much as a file can
hostile_repository() {
  local folder="$DEMO_DIR/mallory" number deep
  for ((number = 0; number < 1000; number++)); do
    mkdir -p "$folder/many/$number"
    printf 'apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {name: s%d}\napps: {a: {image: "x:1"}}\n' "$number" >"$folder/many/$number/hks.yaml"
  done
  deep=$(printf 'd/%.0s' {1..500})
  mkdir -p "$folder/$deep" && printf 'kind: Stack\n' >"$folder/${deep}hks.yaml"
  mkdir -p "$folder/link" "$folder/laughs" "$folder/chain"
  ln -s /etc/passwd "$folder/link/hks.yaml"
  {
    printf 'a0: &a0 [x, x, x, x, x, x, x, x]\n'
    for ((number = 1; number < 30; number++)); do
      printf 'a%d: &a%d [*a%d, *a%d, *a%d, *a%d]\n' "$number" "$number" $((number - 1)) $((number - 1)) $((number - 1)) $((number - 1))
    done
  } >"$folder/laughs/hks.yaml"
  {
    printf 'apiVersion: hks.hexabase.ai/v1\nkind: Stack\nmetadata: {name: chain}\napps:\n'
    for ((number = 0; number < 3000; number++)); do
      printf '  a%d: {image: "x:1", dependsOn: {apps.a%d: ready}}\n' "$number" $((number + 1))
    done
  } >"$folder/chain/hks.yaml"
}

act_bombs() {
  act "Mallory's repository is a bomb, while the shop deploys a new version under load"
  client_start calm
  sleep 2
  sed -i "s|\(hexabase-web\):.*|\1:2.0.0|" "$DEMO_DIR/shop/hks.yaml"
  tenant_push shop "version 2.0.0"
  soon 300 ready shop || fail "version 2.0.0 did not succeed"
  local calm
  calm=$(since "$pushed_at")
  good "without her, version 2.0.0 took $calm"
  hostile_repository
  tenant_push mallory "a bomb"
  fact "1000 folders with a Stack each, 500 levels, a link to /etc/passwd, aliases of aliases, 3000 apps in a chain"
  sed -i "s|\(hexabase-web\):.*|\1:1.0.0|" "$DEMO_DIR/shop/hks.yaml"
  tenant_push shop "back to version 1.0.0"
  soon 300 ready shop || fail "the shop could not deploy while Mallory's repository was read"
  good "beside her, version 1.0.0 took $(since "$pushed_at")"
  client_stop
  note_kept
  soon 60 ready blog || fail "the blog is not ready any more" "$(told blog .state)"
  daemon_alive hks || fail "the daemon ended"
  fact "the daemon: $(awk '/^VmHWM/ {printf "%d MiB at most", $2 / 1024}' "/proc/$(daemon_pid hks)/status"), $(find "/proc/$(daemon_pid hks)/fd" -mindepth 1 2>/dev/null | wc -l) descriptors"
  grep -q 'root:' <(asked mallory /api/v1/status) && fail "the link out of the repository was followed"
  good "the shop and the blog did not notice"
}

act_endpoint() {
  act "Mallory asks the endpoint for the others, and holds 300 connections to it"
  local status holder
  status=$(asked mallory "/api/v1/stacks/$STACK?source=shop" -o /dev/null -w '%{http_code}')
  [[ "$status" == 404 ]] || fail "her token shows the shop: $status"
  asked mallory /api/v1/status | grep -q '"shop"' && fail "her list names the shop"
  good "with her token, there is no shop: 404"
  status=$("${CURL[@]}" -o /dev/null -w '%{http_code}' "$PAGE/api/v1/status")
  [[ "$status" == 401 ]] || fail "without a token: $status"
  good "without a token: 401"
  bash -c 'for n in {1..300}; do exec {fd}<>"/dev/tcp/${0%%:*}/${0##*:}" && printf "GET / HTTP/1.1\r\n" >&"$fd"; done; : >"$1"; sleep 30' \
    "$LISTEN" "$DEMO_DIR/held" 2>/dev/null 9>&- &
  holder=$!
  soon 20 test -e "$DEMO_DIR/held" || fail "the connections were not made"
  local began
  began=$(now_ms)
  soon 20 ready shop || fail "the shop gets no answer beside 300 idle connections"
  good "beside 300 idle connections, the shop has its answer after $(since "$began")"
  kill "$holder" 2>/dev/null || true
  wait "$holder" 2>/dev/null || true
}

act_peaceful_end() {
  act "Done: nobody was harmed"
  local tenant
  for tenant in shop blog; do
    row "" success "$tenant: ${URL_OF[$tenant]}, $(told "$tenant" .state), $(told "$tenant" .appliedRevision | cut -c1-7)"
  done
  fact "the whole story took $(since "$story_began"); which test holds each of these sentences stands in docs/security.md"
  tenants_clear
  good "daemon and projects are gone; vCluster $OTHER_VCLUSTER stays: tests/cluster/cluster vcluster $OTHER_VCLUSTER gone"
}

tenants() {
  alone
  trap client_end EXIT
  printf '%shks: three tenants in two vClusters, one of them hostile%s\n' "$BOLD" "$OFF"
  act_places
  act "Build hks"
  hks_build
  act_tenants
  act_peace
  act_names
  act_copy
  act_forgery
  act_bombs
  act_endpoint
  act_peaceful_end
}
