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

image_hexabase-web-1_inputs() { app_inputs 1.0.0; }
image_hexabase-web-1() { image_app "$1" 1.0.0; }

image_hexabase-web-2_inputs() { app_inputs 2.0.0; }
image_hexabase-web-2() { image_app "$1" 2.0.0; }

app_inputs() {
  declare -f image_app app_build
  echo "$1"
  rustc --version
  (cd "$APP_DIR" && find Cargo.toml Cargo.lock .cargo src -type f -print0 | sort -z | xargs -0 sha256sum)
}

image_app() {
  root_base "$1"
  app_build "$2"
  cp "$KIT_CACHE/cargo-target/x86_64-unknown-linux-gnu/release/hexabase-web" "$1/"
  config+=(--config.entrypoint /hexabase-web --config.user 65532:65532 --config.exposedports 8080/tcp)
}

# From inside of its folder, where its own .cargo/config.toml asks for a static program.
app_build() (
  cd "$APP_DIR" || return
  unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET
  APP_VERSION="$1" CARGO_TARGET_DIR="$KIT_CACHE/cargo-target" \
    "${POLITE[@]}" cargo build --release --locked --jobs "$KIT_JOBS" --target x86_64-unknown-linux-gnu
)
