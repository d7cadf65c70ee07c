# shellcheck shell=bash
# A client of the app that asks for its notes 50 times a second and counts what fails: each request reads the database.

RATE_OF_EACH=25
CLIENTS=2
client_pids=()

# client_start NAME
client_start() {
  local number
  client_log="$DEMO_DIR/client-$1"
  client_pids=()
  for ((number = 0; number < CLIENTS; number++)); do
    # to stderr, which is not buffered: what was answered before the client is ended must not be lost
    "${CURL[@]}" --rate "$RATE_OF_EACH/s" -o /dev/null -w '%{stderr}%{http_code} %{time_total}\n' \
      "$url/api/notes?[1-1000000]" 2>"$client_log-$number" 9>&- &
    client_pids+=($!)
  done
  client_began=$(now_ms)
}

client_end() {
  ((${#client_pids[@]})) || return 0
  kill "${client_pids[@]}" 2>/dev/null || true
  wait "${client_pids[@]}" 2>/dev/null || true
  client_pids=()
}

# client_stop: two more seconds, then the count. Sets asked and failed.
client_stop() {
  local took slowest
  sleep 2
  took=$(($(now_ms) - client_began))
  client_end
  asked=$(cat "$client_log"-* | wc -l)
  failed=$(cat "$client_log"-* | awk '$1 != 200' | wc -l)
  slowest=$(cat "$client_log"-* | awk '$2 > most {most = $2} END {printf "%d ms", most * 1000}')
  fact "the client asked $asked times in $(human_ms "$took"): $failed failed, the slowest answer took $slowest"
  ((asked * 1000 > took * 20)) || fail "the client asked less than 20 times a second, which proves little" "see $client_log-*"
  ((failed == 0)) || fail "$failed of $asked requests failed" \
    "$(cat "$client_log"-* | awk '$1 != 200 {print $1}' | sort | uniq -c | awk '{print $1 " times status " $2}' | paste -sd, -)"
  good "0 of $asked requests failed"
}
