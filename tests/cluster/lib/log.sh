# shellcheck shell=bash
# What the person at the terminal sees: one line per step on stderr, a heartbeat while a step is long,
# the end of its log when it fails.

HEARTBEAT_SECONDS=30
FAILURE_TAIL_LINES=30

if [[ -t 2 && -z "${NO_COLOR:-}" ]]; then
  C_BOLD=$'\e[1m' C_RED=$'\e[31m' C_GREEN=$'\e[32m' C_DIM=$'\e[2m' C_OFF=$'\e[0m'
else
  C_BOLD='' C_RED='' C_GREEN='' C_DIM='' C_OFF=''
fi

say() { printf '%s\n' "$*" >&2; }

die() {
  say "${C_RED}cluster: $1${C_OFF}"
  shift
  local line
  for line in "$@"; do say "  $line"; done
  exit 1
}

now_ms() { date +%s%3N; }

# 4200 -> 4.2 s, 192000 -> 3 min 12 s
human_ms() {
  local ms=$1
  if ((ms < 60000)); then
    printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
  else
    printf '%d min %02d s' $((ms / 60000)) $((ms % 60000 / 1000))
  fi
}

step_pid=''

# Ctrl-C must end the step's compilers too, but not the daemons: those live in sessions of their own.
interrupt_step() {
  trap - INT TERM
  [[ -n "$step_pid" ]] && kill -TERM -- "-$step_pid" 2>/dev/null
  say "cluster: interrupted; run the same command again to go on from here"
  exit 130
}

# step K N TITLE COMMAND...: runs COMMAND with its output in a log, and reports.
step() {
  local position title=$3 started log rc=0
  position=$(printf "[%2d/%d]" "$1" "$2")
  log="$LOG_DIR/step-$1.log"
  shift 3
  started=$(now_ms)
  mkdir -p "$LOG_DIR"
  [[ -t 2 ]] && printf '%s %s …' "$position" "$title" >&2

  # A background job keeps errexit in force inside the step (an `if` or `||` around it would switch it off);
  # its own process group makes it possible to interrupt it as a whole.
  set -m
  (
    set +m -euo pipefail
    trap - INT TERM
    "$@"
  ) >"$log" 2>&1 </dev/null &
  step_pid=$!
  set +m
  await_step "$position $title" "$started" || rc=$?
  step_pid=''

  [[ -t 2 ]] && printf '\r\e[K' >&2
  if ((rc != 0)); then
    say "$position ${C_RED}$title: failed after $(human_ms $(($(now_ms) - started)))${C_OFF}"
    tail -n "$FAILURE_TAIL_LINES" "$log" | sed 's/^/      | /' >&2
    die "'$title' did not succeed" "whole log: $log" "run 'cluster up' again to resume from this step; 'cluster reset' starts from nothing"
  fi
  say "$position ${C_GREEN}ok${C_OFF} $title ${C_DIM}($(human_ms $(($(now_ms) - started))))${C_OFF}"
}

await_step() {
  local label=$1 started=$2 timer ended rc
  while :; do
    sleep "$HEARTBEAT_SECONDS" 9>&- &
    timer=$!
    rc=0
    wait -n -p ended "$step_pid" "$timer" || rc=$?
    if [[ "$ended" == "$step_pid" ]]; then
      kill "$timer" 2>/dev/null
      wait "$timer" 2>/dev/null
      return "$rc"
    fi
    [[ -t 2 ]] && printf '\r\e[K' >&2
    say "$label … ${C_DIM}still at it after $(human_ms $(($(now_ms) - started)))${C_OFF}"
  done
}

# wait_until SECONDS WHAT COMMAND...
wait_until() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= deadline)); then
      echo "timed out waiting for $what"
      "$@" || true # once more, for its own message in the log
      return 1
    fi
    sleep 0.2
  done
}
