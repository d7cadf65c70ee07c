# shellcheck shell=bash
# How the story is told: numbered acts with the time since the start, facts below them, and one way to end badly.

if [[ -t 1 && -z "${NO_COLOR:-}" ]]; then
  BOLD=$'\e[1m' DIM=$'\e[2m' GREEN=$'\e[32m' RED=$'\e[31m' YELLOW=$'\e[33m' OFF=$'\e[0m'
else
  BOLD='' DIM='' GREEN='' RED='' YELLOW='' OFF=''
fi

ACTS=8
act=0
story_began=$(now_ms)

# since MS: the time that passed, for people
since() { human_ms $(($(now_ms) - $1)); }

act() {
  act=$((act + 1))
  printf '\n%s%d/%d  %s%s  %s(at %s)%s\n' "$BOLD" "$act" "$ACTS" "$1" "$OFF" "$DIM" "$(since "$story_began")" "$OFF"
}

fact() { printf '     %s\n' "$*"; }
good() { printf '   %s✓%s %s\n' "$GREEN" "$OFF" "$*"; }

# shown COMMAND...: the command as a person would type it, then what it prints
shown() {
  printf '     %s$ %s%s\n' "$DIM" "$1" "$OFF"
  shift
  "$@" 2>&1 | sed 's/^/     /'
}

# row TIME STATE TEXT: one commit status
row() {
  local colour=''
  case $2 in
    success) colour=$GREEN ;;
    failure | error) colour=$RED ;;
    pending) colour=$YELLOW ;;
  esac
  printf '     %8s  %s%-8s%s  %s\n' "$1" "$colour" "$2" "$OFF" "$3"
}

# fail WHAT HINT...: the story does not hold
fail() {
  printf '\n%s✗ %s%s\n' "$RED" "$1" "$OFF" >&2
  shift
  (($# == 0)) || printf '  %s\n' "$@" >&2
  if [[ -s "$LOG_DIR/hks.log" ]]; then
    printf '  the last lines of the daemon (%s):\n' "$LOG_DIR/hks.log" >&2
    tail -n 12 "$LOG_DIR/hks.log" | sed 's/^/  | /' >&2
  fi
  printf '  everything is left as it is; look at it with: just demo status\n' >&2
  exit 1
}

# soon SECONDS COMMAND...: whether the command succeeds in time
soon() {
  local deadline=$(($(now_ms) + $1 * 1000))
  shift
  until "$@" >/dev/null 2>&1; do
    (($(now_ms) < deadline)) || return 1
    sleep 0.1
  done
}
