#!/bin/bash
# Starts PostgreSQL as the widely used image of that name does: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB and
# PGDATA are honoured, and each of the first three may be given as a file by NAME_FILE.
set -euo pipefail

# from_file NAME: a secret mounted as a file does not show in the process's environment elsewhere
from_file() {
  local name=$1 file="$1_FILE"
  [[ -z "${!file:-}" ]] || export "$name=$(<"${!file}")"
}

prepare_folders_as_root() {
  mkdir -p "$PGDATA" /var/run/postgresql
  chown -R postgres:postgres "$PGDATA" /var/run/postgresql
  chmod 0700 "$PGDATA"
  chmod 3777 /var/run/postgresql
}

initialise() {
  local host_method=scram-sha-256
  [[ "${POSTGRES_HOST_AUTH_METHOD:-}" != trust ]] || host_method=trust
  if [[ -z "${POSTGRES_PASSWORD:-}" && "$host_method" != trust ]]; then
    echo "Error: Database is uninitialized and superuser password is not specified: set POSTGRES_PASSWORD" >&2
    exit 1
  fi
  # shellcheck disable=SC2086 # several arguments in one variable
  initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:-}") \
    --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 ${POSTGRES_INITDB_ARGS:-}
  printf '\nhost all all all %s\n' "$host_method" >>"$PGDATA/pg_hba.conf"
  create_database
}

# Over the socket only: nobody may log in before the database is there.
create_database() {
  pg_ctl --silent -w start -o "-c listen_addresses=''" -l "$PGDATA/initialise.log"
  if [[ "$POSTGRES_DB" != postgres ]]; then
    psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc -U "$POSTGRES_USER" -d postgres -v name="$POSTGRES_DB" \
      <<<'CREATE DATABASE :"name";'
  fi
  run_init_scripts
  pg_ctl --silent -w -m fast stop
  rm -f "$PGDATA/initialise.log"
}

run_init_scripts() {
  local file
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sql) psql -v ON_ERROR_STOP=1 --no-password --no-psqlrc -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f "$file" ;;
      *.sh) bash "$file" ;;
    esac
  done
}

main() {
  local name
  [[ "${1:-postgres}" != -* ]] || set -- postgres "$@"
  (($#)) || set -- postgres
  [[ "$1" == postgres ]] || exec "$@"
  for name in POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB; do from_file "$name"; done
  export POSTGRES_USER="${POSTGRES_USER:-postgres}"
  export POSTGRES_DB="${POSTGRES_DB:-$POSTGRES_USER}"
  if ((EUID == 0)); then
    prepare_folders_as_root
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- "$0" "$@"
  fi
  mkdir -p "$PGDATA"
  chmod 0700 "$PGDATA" 2>/dev/null || true # of another owner when a volume's group gives access
  [[ -s "$PGDATA/PG_VERSION" ]] || initialise
  unset POSTGRES_PASSWORD
  exec "$@"
}

main "$@"
