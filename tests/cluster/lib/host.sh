# shellcheck shell=bash
# What the machine must offer before anything is built, and how to get it.

OWN_CLUSTER_HINT="or set HKS_TEST_KUBECONFIG to the kubeconfig of a cluster of yours, and leave this one alone"
GO_MINIMUM=1.26

# Tests of the kit share two cores with whatever else the developer does; CI has nothing else to do.
POLITE=()
[[ -n "${CI:-}" ]] || POLITE=(nice -n 5)

# command:package, as Debian names them
PACKAGES=(
  containerd:containerd runc:runc iptables:iptables ipset:ipset conntrack:conntrack ip:iproute2 setpriv:util-linux flock:util-linux
  docker-registry:docker-registry skopeo:skopeo umoci:umoci busybox:busybox-static debootstrap:debootstrap
  openssl:openssl curl:curl git:git gcc:gcc jq:jq /usr/lib/cni/bridge:containernetworking-plugins
  /usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1:libfaketime
)

host_check() {
  [[ "$(uname -sm)" == "Linux x86_64" ]] || refuse "the test cluster runs on Linux x86_64, this is $(uname -sm)"
  ((EUID == 0)) || refuse "a node needs root: containers, a bridge and iptables rules are made"
  packages_ensure
  go_check
  command -v cargo >/dev/null || refuse "cargo is missing: the sample app is built with it"
  port_check
}

refuse() {
  printf '%s\n' "$@" "$OWN_CLUSTER_HINT"
  return 1
}

missing_packages() {
  local entry
  for entry in "${PACKAGES[@]}"; do
    # a program, or a library, which nothing runs by itself
    command -v "${entry%%:*}" >/dev/null || [[ -e "${entry%%:*}" ]] || echo "${entry#*:}"
  done | sort -u
}

packages_ensure() {
  local missing
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]})) || return 0
  if ! command -v apt-get >/dev/null; then
    refuse "missing programs, by their Debian package: ${missing[*]}"
  fi
  echo "installing ${missing[*]}"
  apt_install "${missing[@]}" || { apt-get update && apt_install "${missing[@]}"; } ||
    refuse "apt-get could not install: ${missing[*]}"
  # The package starts a registry of its own on the kit's port.
  if [[ " ${missing[*]} " == *" docker-registry "* && -d /run/systemd/system ]]; then
    systemctl disable --now docker-registry
  fi
}

apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }

go_check() {
  local found
  command -v go >/dev/null || refuse "Go is missing: install $GO_MINIMUM or newer from https://go.dev/dl/"
  found=$(go env GOVERSION)
  found=${found#go}
  [[ "$(printf '%s\n' "$GO_MINIMUM" "$found" | sort -V | head -n1)" == "$GO_MINIMUM" ]] ||
    refuse "Go $found is too old: install $GO_MINIMUM or newer from https://go.dev/dl/"
}

# Only ports whose owner is none of our daemons.
port_check() {
  local entry name port holder
  for entry in etcd:$PORT_ETCD kube-apiserver:$PORT_APISERVER registry:$PORT_REGISTRY forge:$PORT_FORGE; do
    name=${entry%:*} port=${entry#*:}
    daemon_alive "$name" && continue
    holder=$(ss -Hltnp "sport = :$port" | sed -n 's/.*users:((\(.*\)))/\1/p')
    [[ -z "$holder" ]] || refuse "port $port, for $name, is taken by $holder"
  done
}

# A folder for unfinished work, on the cache's file system so that a rename finishes it.
scratch() {
  mkdir -p "$KIT_CACHE/tmp"
  mktemp -d "$KIT_CACHE/tmp/$1.XXXXXX"
}

# Only under the lock: nobody else is at work, so what lies there was left by a killed run.
scratch_clear() {
  local leftover
  for leftover in "$KIT_CACHE"/tmp/*; do remove_tree "$leftover"; done
}
