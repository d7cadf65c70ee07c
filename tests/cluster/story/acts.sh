# shellcheck shell=bash
# What happens, act by act. Each one checks what it tells.

act_place() {
  act "A real cluster, and a forge"
  place_ready
}

act_build() {
  act "Build hks"
  hks_build
}

act_begin() {
  act "A project, a repository, a daemon that follows it"
  place_clear
  kube_plain create namespace "$PROJECT" >/dev/null || fail "namespace $PROJECT can't be made"
  good "namespace $PROJECT$([[ -n "$OWN_CLUSTER" ]] || echo " in vCluster $VCLUSTER")"
  repository_create
  hks_start
  good "hks run --config $DEMO_DIR/hks-daemon.yaml"
  fact "its page: $PAGE"
}

act_first() {
  act "Push hks.yaml: an app with two replicas and its own PostgreSQL"
  push 1.0.0
  await_end "$commit" 300
  [[ "$state" == success ]] || fail "the first push did not succeed"
  first=$commit first_took=$(since "$pushed_at")
  url=$(grep -o 'https\?://[^ ]*' <<<"$description" || "$HKS" status "$STACK" --kubeconfig "$PROJECT_KUBECONFIG" -n "$PROJECT" -o json | jq -r '.. | .urls? // empty | .[0]')
  [[ -n "$url" ]] || fail "the status names no public URL"
  answers /ready 200 || fail "$url does not answer"
  good "$url answers: $(get /api/version)"
  note="written at $(date +%T) by version 1.0.0"
  written=$("${CURL[@]}" -f -H 'Content-Type: application/json' --data "$(jq -n --arg text "$note" '{text: $text}')" "$url/api/notes") ||
    fail "the app does not store a row"
  note_kept
  good "a row was written to the database and read back: $written"
}

act_second() {
  act "Push version 2.0.0 while a client asks 50 times a second"
  client_start second
  sleep 2
  push 2.0.0
  await_end "$commit" 300
  [[ "$state" == success ]] || fail "version 2.0.0 did not succeed"
  second=$commit second_took=$(since "$pushed_at")
  client_stop
  version_is 2.0.0
  good "version 2.0.0 answers: $(get /api/version)"
}

act_bad() {
  act "Push an image that does not exist, under the same load"
  client_start bad
  sleep 2
  push 9.9.9
  await_end "$commit" 300
  bad=$commit bad_took=$(since "$pushed_at")
  [[ "$state" == failure && "$description" == "rolled back to ${second:0:7}:"* ]] ||
    fail "the bad push should have ended as failure: rolled back to ${second:0:7}"
  client_stop
  version_is 2.0.0
  note_kept
  good "version 2.0.0 answers, and the row is still there"
}

act_drift() {
  act "Change it by hand: kubectl scale --replicas=0"
  local began corrected
  shown "kubectl scale deployment/$STACK-web --replicas=0" kube scale "deployment/$STACK-web" --replicas=0
  began=$(now_ms)
  soon 60 replicas_are '{.spec.replicas}' 2 || fail "the replicas were not put back"
  corrected=$(since "$began")
  soon 120 replicas_are '{.status.readyReplicas}' 2 || fail "the replicas were put back but are not ready"
  drift_took=$corrected
  good "put back after $corrected; both replicas ready again after $(since "$began")"
  note_kept
}

act_end() {
  act "Done: what $([[ -n "$OWN_CLUSTER" ]] && echo "the record" || echo "the forge") says of the three commits"
  local one line
  for one in "$first" "$second" "$bad"; do
    line=$(statuses "$one" | tail -n 1)
    row "${one:0:7}" "${line%%$'\t'*}" "${line#*$'\t'}"
  done
  printf '\n'
  fact "first deployment $first_took · new version $second_took · bad version put back $bad_took · drift put back $drift_took"
  fact "the whole story took $(since "$story_began")"
  printf '\n   It goes on running:\n'
  fact "$url   the app"
  fact "$PAGE   what hks says of it"
  [[ -n "$OWN_CLUSTER" ]] || fact "$FORGE_URL/$FORGE_REPOSITORY   the repository; user $FORGE_ADMIN, password in $FORGE_PASSWORD_FILE"
  fact "just demo status   the same on the command line"
  fact "$KUBECTL --kubeconfig $PROJECT_KUBECONFIG -n $PROJECT get all"
  fact "just demo stop     ends it"
}

get() { "${CURL[@]}" "$url$1"; }

# answers PATH STATUS: in ten seconds
answers() { soon 10 answers_now "$@"; }
answers_now() { [[ "$("${CURL[@]}" -o /dev/null -w '%{http_code}' "$url$1")" == "$2" ]]; }

# Every replica: connections go to one or the other.
version_is() {
  local try
  for try in 1 2 3 4 5 6; do
    [[ "$(get /api/version | jq -r .version)" == "$1" ]] || fail "request $try: version $1 should answer, this did: $(get /api/version)"
  done
}

note_kept() { get /api/notes | jq -e --arg text "$note" 'any(.[]; .text == $text)' >/dev/null || fail "the row is not in the database any more"; }

replicas_are() { [[ "$(kube get deployment "$STACK-web" -o "jsonpath=$1")" == "$2" ]]; }
