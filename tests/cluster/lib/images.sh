# shellcheck shell=bash
# What each image holds. image_NAME fills a root folder and appends to `config`; image_NAME_inputs prints
# everything else the result depends on.

image_pause_inputs() { cat "$KIT_DIR/images/pause.c"; }
image_pause() {
  gcc -static -Os -s -o "$1/pause" "$KIT_DIR/images/pause.c"
  config+=(--config.entrypoint /pause --config.user 65532:65532)
}

image_busybox_inputs() { deb_version busybox-static; }
image_busybox() {
  root_base "$1"
  root_shell "$1"
  config+=(--config.cmd sh)
}

image_coredns_inputs() { go_dir coredns; }
image_coredns() { image_of_program "$1" "$(go_dir coredns)/coredns"; }

image_metrics-server_inputs() { go_dir metrics-server; }
image_metrics-server() { image_of_program "$1" "$(go_dir metrics-server)/metrics-server"; }

image_traefik_inputs() { go_dir traefik; }
image_traefik() { image_of_program "$1" "$(go_dir traefik)/traefik"; }

image_local-path_inputs() { go_dir local-path-provisioner; }
image_local-path() { image_of_program "$1" "$(go_dir local-path-provisioner)/local-path-provisioner"; }

image_of_program() {
  root_base "$1"
  cp "$2" "$1/"
  config+=(--config.entrypoint "/$(basename "$2")")
}

# The vCluster's init container copies these into a volume that its control plane runs them from.
image_kubernetes_inputs() {
  go_dir kubernetes
  go_dir kine
  go_dir helm
  deb_version busybox-static
}
image_kubernetes() {
  root_base "$1"
  root_shell "$1"
  mkdir "$1/kubernetes"
  cp "$(go_dir kubernetes)"/{kube-apiserver,kube-controller-manager} "$(go_dir kine)/kine" "$(go_dir helm)/helm" "$1/kubernetes/"
}

image_vcluster_inputs() {
  go_dir vcluster
  go_dir helm
  deb_version busybox-static
}
image_vcluster() {
  root_base "$1"
  root_shell "$1"
  mkdir "$1/data"
  cp "$(go_dir vcluster)/vcluster" "$1/"
  cp "$(go_dir helm)/helm" "$1/bin/"
  config+=(--config.entrypoint /vcluster --config.cmd start)
}

POSTGRES_UID=999 # what the widely used image has; manifests name it

image_postgres_inputs() {
  cat "$KIT_DIR/images/postgres-entrypoint.sh"
  declare -f postgres_owner postgres_trim
}
image_postgres() {
  debootstrap --variant=minbase --include=postgresql-15,postgresql-client-15 bookworm "$1" "$(debian_mirror)"
  postgres_owner "$1"
  postgres_trim "$1"
  install -m 755 "$KIT_DIR/images/postgres-entrypoint.sh" "$1/usr/local/bin/docker-entrypoint.sh"
  mkdir "$1/docker-entrypoint-initdb.d"
  install -d -m 3777 -o $POSTGRES_UID -g $POSTGRES_UID "$1/var/run/postgresql"
  install -d -m 1777 -o $POSTGRES_UID -g $POSTGRES_UID "$1/var/lib/postgresql" "$1/var/lib/postgresql/data"
  config+=(
    --config.entrypoint docker-entrypoint.sh --config.cmd postgres --config.exposedports 5432/tcp --config.stopsignal SIGINT
    --config.env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin
    --config.env PGDATA=/var/lib/postgresql/data --config.env LANG=C.UTF-8 --config.env PG_MAJOR=15
  )
}

# Debian gives the account whatever number is free.
postgres_owner() {
  local uid gid
  uid=$(chroot "$1" id -u postgres)
  gid=$(chroot "$1" id -g postgres)
  chroot "$1" groupmod -g $POSTGRES_UID postgres
  chroot "$1" usermod -u $POSTGRES_UID -g $POSTGRES_UID postgres
  find "$1" -xdev \( -uid "$uid" -o -gid "$gid" \) -exec chown -h $POSTGRES_UID:$POSTGRES_UID {} +
}

# Listens on every address; without documentation, package lists, and the JIT compiler's 150 MB.
postgres_trim() {
  sed -i "s/^#\?listen_addresses = .*/listen_addresses = '*'/" "$1/usr/share/postgresql/15/postgresql.conf.sample"
  rm -rf "$1"/var/cache/{apt,debconf,ldconfig}/* "$1"/var/lib/apt/lists/* "$1"/usr/share/{doc,man,locale,info}/* \
    "$1"/var/log/* "$1"/debootstrap "$1"/var/lib/postgresql/15 "$1"/etc/postgresql/15 \
    "$1"/usr/lib/postgresql/15/lib/{bitcode,llvmjit*} "$1"/usr/lib/x86_64-linux-gnu/libLLVM*
}

# The mirror this machine already uses.
debian_mirror() {
  local mirror="${HKS_KIT_DEBIAN_MIRROR:-}"
  if [[ -z "$mirror" && "$(. /etc/os-release && echo "$ID")" == debian ]]; then
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
      awk '$1 == "URIs:" { print $2; exit } $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^[a-z]+:\/\//) { print $i; exit } }')
  fi
  if [[ -z "$mirror" ]]; then
    echo "no Debian mirror in the package sources: name one in HKS_KIT_DEBIAN_MIRROR" >&2
    return 1
  fi
  echo "$mirror"
}

# ---- Redis and PgBouncer: Debian's programs with the libraries they need, and a shell -----------

REDIS_UID=999 # as the widely used image
PGBOUNCER_UID=998

image_servers_inputs() {
  declare -f servers_unpack servers_copy
  echo $REDIS_UID $PGBOUNCER_UID
  deb_version busybox-static
}
image_servers() {
  local debian="${1%/root}/debian"
  servers_unpack "$debian" redis-server,redis-tools,pgbouncer
  root_base "$1"
  root_shell "$1"
  servers_copy "$debian" "$1" /usr/bin/redis-server /usr/bin/redis-cli /usr/sbin/pgbouncer
  printf '%s:x:%s:%s::/:/bin/sh\n' redis $REDIS_UID $REDIS_UID pgbouncer $PGBOUNCER_UID $PGBOUNCER_UID >>"$1/etc/passwd"
  printf '%s:x:%s:\n' redis $REDIS_UID pgbouncer $PGBOUNCER_UID >>"$1/etc/group"
  install -d -m 1777 -o $REDIS_UID -g $REDIS_UID "$1/data" # any user may run it, on a volume or without one
  config+=(--config.env PATH=/usr/sbin:/usr/bin:/bin)
}

family_servers() {
  echo "redis:7 --config.cmd redis-server --config.user $REDIS_UID:$REDIS_UID --config.workingdir /data --config.exposedports 6379/tcp"
  echo "pgbouncer:1 --config.cmd pgbouncer --config.user $PGBOUNCER_UID:$PGBOUNCER_UID --config.exposedports 6432/tcp"
}

# servers_unpack FOLDER PACKAGE,...: these and what they depend on, unpacked and nothing more: no package's script is run
servers_unpack() {
  local archive
  debootstrap --foreign --variant=minbase --include="$2" bookworm "$1" "$(debian_mirror)"
  for archive in "$1"/var/cache/apt/archives/*.deb; do
    chroot "$1" dpkg-deb --fsys-tarfile "${archive#"$1"}" | tar -x --keep-directory-symlink -C "$1"
  done
}

# servers_copy FROM TO PROGRAM...: and the shared libraries they are linked with, as files without links
servers_copy() {
  local from=$1 to=$2 libraries
  shift 2
  libraries=$(chroot "$from" ldd "$@" | grep -oP '(?<=\s)/\S+(?= \()' | sort -u)
  # shellcheck disable=SC2086 # several paths
  chroot "$from" tar -ch --hard-dereference "$@" $libraries | tar -x -C "$to"
}

# ---- applications, made of Rust ------------------------------------------------------------------

image_hexabase-web-1_inputs() { app_inputs "$APP_DIR" "$(declare -f image_app)"; }
image_hexabase-web-1() { image_app "$1" 1.0.0; }

image_hexabase-web-2_inputs() { app_inputs "$APP_DIR" "$(declare -f image_app)"; }
image_hexabase-web-2() { image_app "$1" 2.0.0; }

image_app() {
  root_base "$1"
  APP_VERSION="$2" app_build "$APP_DIR" "$1/hexabase-web"
  config+=(--config.entrypoint /hexabase-web --config.user 65532:65532 --config.exposedports 8080/tcp)
}

image_standin_inputs() { app_inputs "$STANDIN_DIR"; }
image_standin() {
  root_base "$1"
  mkdir -p "$1"/app "$1"/commands/{aio,hugmedo,pipe,koiki}
  app_build "$STANDIN_DIR" "$1/app/standin"
  ln -s standin "$1/app/worker"
  ln -s /app/standin "$1/commands/hugmedo/pnpm"
  ln -s /app/standin "$1/commands/pipe/npm"
  ln -s /app/standin "$1/commands/koiki/uvicorn"
  ln -s /app/standin "$1/commands/koiki/docker-entrypoint.sh"
  config+=(--config.entrypoint /app/standin --config.user 65532:65532)
}

# REPOSITORY ROLE PORT, and what differs from the others
STANDINS=(
  "aio/backend aio-api 8080 --config.workingdir /app"
  "aio/frontend aio-frontend 3000"
  "aio/keycloak aio-keycloak 8080"
  "aio/jaeger aio-jaeger 16686 --config.exposedports 4317/tcp --config.exposedports 4318/tcp"
  "hugmedo/web hugmedo-web 3000"
  "hugmedo/mobile hugmedo-mobile 3100"
  "hugmedo/api hugmedo-api 3000"
  "hugmedo/chat hugmedo-chat 3000"
  "hugmedo/ohr hugmedo-ohr 3000"
  "pipe/api pipe-api 3000"
  "koiki/koiki-fw koiki-fw 8000 --config.entrypoint docker-entrypoint.sh"
  "koiki/koiki-frontend koiki-frontend 3000"
)

# A command is found by its name only in images of the system that has it.
family_standin() {
  local version repository role port options
  for version in 1.0.0 2.0.0; do
    while read -r repository role port options; do
      echo "$repository:$version --config.env APP_VERSION=$version --config.env STANDIN_ROLE=$role" \
        "--config.env PATH=/commands/${repository%%/*} --config.exposedports $port/tcp $options"
    done < <(printf '%s\n' "${STANDINS[@]}")
  done
}

# app_inputs FOLDER [TEXT]...
app_inputs() {
  declare -f app_build
  rustc --version
  (cd "$1" && find Cargo.toml Cargo.lock .cargo src -type f -print0 | sort -z | xargs -0 sha256sum)
  shift
  printf '%s\n' "$@"
}

# app_build FOLDER TARGET: from inside of the folder, where its own .cargo/config.toml asks for a static program
app_build() (
  cd "$1" || return
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
  CARGO_TARGET_DIR="$KIT_CACHE/cargo-target" \
    "${POLITE[@]}" cargo build --release --locked --jobs "$KIT_JOBS" --target x86_64-unknown-linux-gnu
  cp "$KIT_CACHE/cargo-target/x86_64-unknown-linux-gnu/release/$(basename "$2")" "$2"
)
