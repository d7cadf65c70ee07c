# shellcheck shell=bash
# Processes of the kit: started detached, known by pid and start time, restarted when their inputs change.

process_start_time() { # a recycled pid has another one
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  stat=${stat##*) } # the name in brackets may hold anything
  cut -d' ' -f20 <<<"$stat"
}

process_is() {
  local state
  [[ "$(process_start_time "$1" || true)" == "$2" ]] || return 1
  state=$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 1
  [[ "$state" != Z ]] # killed, and only waits for its parent to notice
}

daemon_pid() {
  local pid started
  read -r pid started 2>/dev/null <"$RUN_DIR/$1.pid" || return 1
  process_is "$pid" "$started" && echo "$pid"
}

daemon_alive() { daemon_pid "$1" >/dev/null; }

# daemon_ensure NAME [INPUT_FILE...] -- COMMAND...: running with exactly this command and these inputs
daemon_ensure() {
  local name=$1 key inputs=()
  shift
  while [[ "$1" != -- ]]; do
    inputs+=("$1")
    shift
  done
  shift
  key=$({ printf '%s\n' "$@"; cat /dev/null "${inputs[@]}"; } | hash_text)
  if daemon_alive "$name"; then
    [[ "$(cat "$RUN_DIR/$name.key" 2>/dev/null)" == "$key" ]] && return
    daemons_stop 20 "$name"
  fi
  daemon_start "$name" "$@"
  printf '%s\n' "$key" | write_file "$RUN_DIR/$name.key"
}

daemon_start() {
  local name=$1 log="$LOG_DIR/$1.log"
  shift
  mkdir -p "$RUN_DIR" "$LOG_DIR"
  [[ -f "$log" ]] && mv -f "$log" "$log.1"
  # The pid file is written before the program starts, by the very process that becomes it: a kill at any
  # moment leaves no process that nobody knows. Descriptor 9 is the kit's lock, which a daemon must not hold.
  # shellcheck disable=SC2016 # expanded by the inner shell
  setsid bash -c '
    stat=$(</proc/$$/stat); fields=(${stat##*) })
    echo "$$ ${fields[19]}" >"$0.tmp"; mv -f "$0.tmp" "$0"; exec "$@"
  ' "$RUN_DIR/$name.pid" "$@" </dev/null >"$log" 2>&1 9>&- &
  sleep 0.1
}

# daemons_stop GRACE_SECONDS NAME...: politely, then not. All at once, since an apiserver may take a minute.
daemons_stop() {
  local grace=$1 name pid processes=()
  shift
  for name in "$@"; do
    if pid=$(daemon_pid "$name"); then
      processes+=("$pid:$(process_start_time "$pid")")
      kill -TERM "$pid" 2>/dev/null || true
    fi
  done
  await_exit "$grace" "${processes[@]}" || {
    for pid in "${processes[@]}"; do process_is "${pid%:*}" "${pid#*:}" && kill -KILL "${pid%:*}" 2>/dev/null; done
    await_exit 10 "${processes[@]}"
  }
  for name in "$@"; do rm -f "$RUN_DIR/$name.pid" "$RUN_DIR/$name.key"; done
}

# await_exit SECONDS PID:START...
await_exit() {
  local deadline=$(($(now_ms) + $1 * 1000)) process
  shift
  for process in "$@"; do
    while process_is "${process%:*}" "${process#*:}"; do
      (($(now_ms) < deadline)) || return 1
      sleep 0.1
    done
  done
}

# daemon_await SECONDS NAME COMMAND...: until it answers. When it dies instead, its own last words explain it best.
daemon_await() {
  local deadline=$((SECONDS + $1)) name=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! daemon_alive "$name" || ((SECONDS >= deadline)); then
      daemon_alive "$name" && echo "$name does not answer; its log:" || echo "$name ended right after its start:"
      tail -n 20 "$LOG_DIR/$name.log"
      return 1
    fi
    sleep 0.2
  done
}
