# shellcheck shell=bash
# The repository that hks follows: at the forge with a signed webhook, or a bare one in the story's folder.

FORGE_REPOSITORY="$FORGE_ADMIN/$STACK"

# forge METHOD PATH [JSON]
forge() {
  local body=()
  [[ -z "${3:-}" ]] || body=(-H 'Content-Type: application/json' --data "$3")
  curl -sS --fail-with-body --max-time 10 --noproxy '*' -X "$1" -H "@$DEMO_DIR/forge-header" "${body[@]}" "$FORGE_URL/api/v1$2"
}

# A header in a file: what stands on a command line, every process of the machine can read.
forge_header() {
  mkdir -p "$DEMO_DIR"
  printf 'Authorization: token %s\n' "$(cat "$FORGE_TOKEN_FILE")" | write_file "$DEMO_DIR/forge-header" 600
}

repository_delete() {
  [[ -z "$OWN_CLUSTER" ]] || return 0
  forge_header
  if forge GET "/repos/$FORGE_REPOSITORY" >/dev/null 2>&1; then
    forge DELETE "/repos/$FORGE_REPOSITORY" >/dev/null || fail "the forge does not delete $FORGE_REPOSITORY"
  fi
}

repository_create() {
  if [[ -n "$OWN_CLUSTER" ]]; then
    GIT_URL="$DEMO_DIR/$STACK.git"
    git init -q --bare -b main "$GIT_URL"
    good "a bare repository: $GIT_URL"
  else
    GIT_URL="$FORGE_URL/$FORGE_REPOSITORY.git"
    forge_header
    forge POST /user/repos "{\"name\": \"$STACK\", \"private\": true, \"default_branch\": \"main\"}" >/dev/null ||
      fail "the forge does not make the repository"
    openssl rand -hex 32 | write_file "$DEMO_DIR/webhook-secret" 600
    local hook
    hook=$(jq -n --arg url "$PAGE$WEBHOOK_PATH" --rawfile secret "$DEMO_DIR/webhook-secret" '{
      type: "gitea", active: true, events: ["push"],
      config: {url: $url, content_type: "json", secret: ($secret | rtrimstr("\n"))}
    }')
    forge POST "/repos/$FORGE_REPOSITORY/hooks" "$hook" >/dev/null || fail "the forge does not make the webhook"
    good "a private repository at the forge, with a signed webhook: $FORGE_URL/$FORGE_REPOSITORY"
  fi
  mkdir -p "$WORK"
  git_here init -q -b main
  sed "s|127.0.0.1:5000/|$IMAGES/|" "$ROOT/examples/hexabase/hks.yaml" >"$WORK/hks.yaml"
}

# The password goes from the file to git, past command lines and configurations. Nothing of this machine's git settings counts.
git_here() {
  # shellcheck disable=SC2016 # expanded by git's shell
  GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_TERMINAL_PROMPT=0 NO_PROXY='*' no_proxy='*' \
    FORGE_ADMIN="$FORGE_ADMIN" FORGE_PASSWORD_FILE="$FORGE_PASSWORD_FILE" git -C "$WORK" \
    -c user.name=demo -c user.email=demo@localhost \
    -c credential.helper='!f() { echo "username=$FORGE_ADMIN"; echo "password=$(cat "$FORGE_PASSWORD_FILE")"; }; f' "$@"
}

# push TAG: the app's image gets this tag. Sets commit and pushed_at.
push() {
  sed -i "s|\(hexabase-web\):.*|\1:$1|" "$WORK/hks.yaml"
  git_here add hks.yaml
  git_here commit -q -m "web $1"
  commit=$(git_here rev-parse HEAD)
  fact "git push: ${commit:0:7} \"web $1\""
  git_here push -q "$GIT_URL" main 2>"$LOG_DIR/git" || fail "git push failed" "$(cat "$LOG_DIR/git")"
  pushed_at=$(now_ms)
}

# statuses COMMIT: STATE<tab>DESCRIPTION, oldest first, as the forge has them; without a forge, as the cluster's record has them
statuses() {
  if [[ -n "$OWN_CLUSTER" ]]; then
    "$HKS" history "$STACK" --kubeconfig "$PROJECT_KUBECONFIG" -n "$PROJECT" -o json 2>/dev/null |
      jq -r --arg commit "$1" '.[] | select(.revision == $commit) |
        [(if .outcome == "succeeded" then "success" else "failure" end), .description] | @tsv' || true
  else
    forge GET "/repos/$FORGE_REPOSITORY/commits/$1/statuses?limit=50" 2>/dev/null |
      jq -r 'sort_by(.id) | .[] | [.status, .description] | @tsv' || true
  fi
}

# await_end COMMIT SECONDS: tells each status as it comes. Sets state and description to the last ones.
await_end() {
  local told=0 deadline=$(($(now_ms) + $2 * 1000)) lines
  state='' description=''
  while :; do
    mapfile -t lines < <(statuses "$1")
    while ((told < ${#lines[@]})); do
      IFS=$'\t' read -r state description <<<"${lines[$told]}"
      row "$(since "$pushed_at")" "$state" "$description"
      told=$((told + 1))
    done
    [[ -n "$state" && "$state" != pending ]] && return
    (($(now_ms) < deadline)) || fail "commit ${1:0:7} got no final status in $2 s" "the last one: ${state:-none} $description"
    daemon_alive hks || fail "the daemon ended"
    sleep 0.2
  done
}
