# shellcheck shell=bash
# hks itself: built, configured by a file, started.

hks_build() {
  if [[ -n "${HKS_DEMO_PROGRAM:-}" ]]; then
    good "$("$HKS" version), as HKS_DEMO_PROGRAM says: $HKS"
    return
  fi
  fact "cargo build --release (the first time up to ten minutes, later seconds)"
  local build=(cargo build --manifest-path "$ROOT/Cargo.toml" --release --locked -j"${HKS_JOBS:-2}")
  if [[ -t 2 ]]; then
    "${build[@]}" || fail "hks did not compile"
  else
    # no progress bar in a log: one line now and then, and everything that is no progress
    "${build[@]}" 2>&1 | awk '!/^ *(Compiling|Downloaded|Downloading|Locking|Updating)/ || ++n % 50 == 0 {print "     " $0; fflush()}' ||
      fail "hks did not compile"
  fi
  good "$("$HKS" version), $(($(stat -c %s "$HKS") / 1024 / 1024)) MiB"
}

hks_config() {
  local target forge='' class=''
  [[ -z "$INGRESS_CLASS" ]] || class="ingressClass: $INGRESS_CLASS"
  if [[ -n "$OWN_CLUSTER" ]]; then
    target="kubeconfig: $PROJECT_KUBECONFIG"
  else
    target="vcluster: {name: $VCLUSTER}"
    forge="
      username: $FORGE_ADMIN
      password: {file: $FORGE_PASSWORD_FILE}
    webhook:
      secret: {file: $DEMO_DIR/webhook-secret}
    forge:
      kind: gitea
      apiUrl: $FORGE_URL/api/v1
      repository: $FORGE_REPOSITORY
      token: {file: $FORGE_TOKEN_FILE}"
  fi
  write_file "$DEMO_DIR/hks-daemon.yaml" <<END
cluster: demo
listen: $LISTEN
publicUrl: $PAGE
dataDir: $DEMO_DIR/data
domain: $DOMAIN
$class
images: {postgres: "$IMAGES/postgres:{version}"}
kubeconfig: $HOST_KUBECONFIG
sources:
  $STACK:
    target: {$target}
    namespace: $PROJECT
    git:
      url: $GIT_URL$forge
END
}

hks_start() {
  hks_config
  program_link "$HKS" "$DEMO_DIR/hks" # for `just demo status`, whatever is built meanwhile
  hks_run
}

# With the configuration that was written, as itself, whatever the shell that started the story is set to
hks_run() {
  daemon_ensure hks "$DEMO_DIR/hks-daemon.yaml" -- \
    env -u HTTP_PROXY -u HTTPS_PROXY -u http_proxy -u https_proxy NO_COLOR=1 \
    "$HKS" run --config "$DEMO_DIR/hks-daemon.yaml"
  soon 30 page_ready || fail "the daemon does not answer on $PAGE"
}

page_ready() { daemon_alive hks && "${CURL[@]}" -f "$PAGE/readyz"; }
