# shellcheck shell=bash
# A real Git forge (Gitea) on loopback, with one administrator and a token in a file only root can read.

forge_up() {
  forge_account
  forge_program
  forge_config
  forge_run_once migrate
  daemon_ensure forge "$FORGE_DIR/app.ini" -- \
    setpriv --reuid "$FORGE_ACCOUNT" --regid "$FORGE_ACCOUNT" --clear-groups --no-new-privs -- \
    env -i HOME="$FORGE_DIR" USER="$FORGE_ACCOUNT" PATH=/usr/bin:/bin \
    "$FORGE_DIR/program/gitea" web --config "$FORGE_DIR/app.ini"
  daemon_await 60 forge forge_answers
  forge_administrator
}

forge_account() {
  id "$FORGE_ACCOUNT" &>/dev/null ||
    useradd --system --user-group --no-create-home --home-dir "$FORGE_DIR" --shell /usr/sbin/nologin "$FORGE_ACCOUNT"
  mkdir -p "$FORGE_DIR"/{data,repositories}
  chown "$FORGE_ACCOUNT:$FORGE_ACCOUNT" "$FORGE_DIR" "$FORGE_DIR"/{data,repositories}
}

# A copy: the cache usually lies in a home folder that the account may not enter.
forge_program() {
  local source work="$FORGE_DIR/program.new"
  source=$(go_dir gitea)
  [[ "$(cat "$FORGE_DIR/program/.from" 2>/dev/null)" == "$source" ]] && return
  rm -rf "$work"
  cp -r "$source" "$work"
  echo "$source" >"$work/.from"
  daemons_stop 20 forge
  rm -rf "$FORGE_DIR/program"
  mv "$work" "$FORGE_DIR/program"
}

forge_config() {
  render "$KIT_DIR/forge/app.ini" ACCOUNT="$FORGE_ACCOUNT" FORGE_DIR="$FORGE_DIR" PORT="$PORT_FORGE" URL="$FORGE_URL" \
    INTERNAL_TOKEN="$(forge_secret INTERNAL_TOKEN)" JWT_SECRET="$(forge_secret JWT_SECRET)" |
    write_file_if_changed "$FORGE_DIR/app.ini" 640
  chgrp "$FORGE_ACCOUNT" "$FORGE_DIR/app.ini"
}

# Made once and kept: left to itself, the forge would write them into its configuration, which it may not change.
forge_secret() {
  local file="$FORGE_DIR/secret-$1"
  [[ -s "$file" ]] || "$FORGE_DIR/program/gitea" generate secret "$1" | write_file "$file" 600
  cat "$file"
}

forge_command() {
  setpriv --reuid "$FORGE_ACCOUNT" --regid "$FORGE_ACCOUNT" --clear-groups -- \
    env -i HOME="$FORGE_DIR" USER="$FORGE_ACCOUNT" PATH=/usr/bin:/bin \
    "$FORGE_DIR/program/gitea" --config "$FORGE_DIR/app.ini" "$@"
}

# The schema belongs to the program's version.
forge_run_once() {
  local stamp="$KIT_STATE/stamps/forge-$1" key
  key=$(go_dir gitea)
  [[ "$(cat "$stamp" 2>/dev/null)" == "$key" ]] && return
  forge_command "$1"
  printf '%s\n' "$key" | write_file "$stamp"
}

forge_answers() { curl -sf --max-time 2 --noproxy '*' "$FORGE_URL/api/healthz"; }

forge_administrator() {
  forge_token_works && return
  if [[ ! -s "$FORGE_PASSWORD_FILE" ]]; then
    openssl rand -hex 24 | write_file "$FORGE_PASSWORD_FILE" 600
  fi
  local password
  password=$(cat "$FORGE_PASSWORD_FILE")
  if forge_command admin user list --admin | awk '{print $2}' | grep -qx "$FORGE_ADMIN"; then
    forge_command admin user change-password --username "$FORGE_ADMIN" --password "$password" --must-change-password=false
  else
    forge_command admin user create --admin --username "$FORGE_ADMIN" --email "$FORGE_ADMIN@localhost.localdomain" \
      --password "$password" --must-change-password=false
  fi
  # A name of its own: a token whose value was lost by a kill can't be asked for again.
  forge_command admin user generate-access-token --username "$FORGE_ADMIN" --token-name "kit-$(now_ms)" --scopes all --raw |
    write_file "$FORGE_TOKEN_FILE" 600
  forge_token_works
}

forge_token_works() {
  [[ -s "$FORGE_TOKEN_FILE" ]] &&
    curl -sf --max-time 5 --noproxy '*' -o /dev/null -H @- "$FORGE_URL/api/v1/user" <<<"Authorization: token $(cat "$FORGE_TOKEN_FILE")"
}
