# shellcheck shell=bash
# Content keys and atomic files: what makes every step safe to kill and cheap to repeat.

hash_text() { sha256sum | cut -c1-16; }

# hash_files FILE...: independent of where the checkout lies
hash_files() { cat "$@" | hash_text; }

# Nothing under the final name is ever half written.
write_file() {
  local path=$1 mode=${2:-644} temporary
  mkdir -p "$(dirname "$path")"
  temporary=$(mktemp "$path.XXXXXX")
  cat >"$temporary"
  chmod "$mode" "$temporary"
  mv -f "$temporary" "$path"
}

# As write_file, but leaves an equal file alone.
write_file_if_changed() {
  local path=$1 mode=${2:-644} content
  content=$(cat)
  [[ -f "$path" && "$(cat "$path")" == "$content" ]] || printf '%s\n' "$content" | write_file "$path" "$mode"
}

# render FILE NAME=VALUE...: replaces @NAME@; an unknown @NAME@ is an error, not an empty string
render() {
  local text pair
  text=$(<"$1")
  shift
  for pair in "$@"; do text=${text//"@${pair%%=*}@"/"${pair#*=}"}; done
  if [[ "$text" =~ @[A-Z_]+@ ]]; then
    echo "no value for ${BASH_REMATCH[0]}"
    return 1
  fi
  printf '%s\n' "$text"
}

# program_link PROGRAM PATH: a stable path to what lies in the cache
program_link() {
  mkdir -p "$(dirname "$2")"
  ln -sfn "$1" "$2"
}

# unmount_below FOLDER: what is mounted on it or under it
unmount_below() {
  local target
  # Deepest first: /proc/mounts lists a mount after the one it lies on.
  while read -r target; do
    umount -l "$target" 2>/dev/null || true
  done < <(awk -v top="$1/" 'index($2 "/", top) == 1 {print $2}' /proc/mounts | tac)
}

# Never follows a mount that is still there: a half-made root file system may hold /proc.
remove_tree() {
  [[ -e "$1" ]] || return 0
  unmount_below "$1"
  rm -rf --one-file-system "$1"
}
