# shellcheck shell=bash
# The cluster's programs, each built from a go.mod and go.sum of its own under go/, cached by what they are made of.
# What several of them use has the same version and the same flags in all, as far as it goes: Go then compiles it once.

GO_VERSION=$(go version 2>/dev/null || true) # host_check refuses when there is none
GO_STATIC_EXTERNAL='-linkmode external -extldflags -static' # C code inside, yet no shared library needed at run time
GO_TAGS=netgo,osusergo # what has C code inside then shares the packages that import net with what has none
SQLITE_TAGS=sqlite_omit_load_extension,sqlite_unlock_notify # the same everywhere: its C is compiled once

# go_recipe MODULE: sets packages, cgo, tags, ldflags, keep (folders of the main module needed at run time)
go_recipe() {
  cgo=0 tags=$GO_TAGS ldflags='' keep=()
  case $1 in
    kubernetes)
      packages=(
        go.etcd.io/etcd/server/v3
        k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubectl,kubelet,kube-proxy}
      )
      ldflags=$(kubernetes_version_flags)
      ;;
    helm) packages=(helm.sh/helm/v3/cmd/helm) ;;
    kine) # its SQLite is C; the vCluster's image has no C library to offer
      packages=(github.com/k3s-io/kine) cgo=1 tags+=,$SQLITE_TAGS ldflags=$GO_STATIC_EXTERNAL
      ;;
    kube-router) packages=(github.com/cloudnativelabs/kube-router/v2/cmd/kube-router) ;;
    coredns) packages=(github.com/coredns/coredns) ;;
    local-path-provisioner) packages=(github.com/rancher/local-path-provisioner) ;;
    metrics-server) packages=(sigs.k8s.io/metrics-server/cmd/metrics-server) ;;
    kwok) packages=(sigs.k8s.io/kwok/cmd/kwok) ;;
    traefik) packages=(github.com/traefik/traefik/v3/cmd/traefik) ;;
    vcluster) packages=(github.com/loft-sh/vcluster/cmd/vcluster) keep=(chart) ;;
    gitea) packages=(code.gitea.io/gitea) cgo=1 tags+=,sqlite,$SQLITE_TAGS keep=(templates options public) ;;
    *)
      echo "no build recipe for $1"
      return 1
      ;;
  esac
}

# Without it every component reports v0.0.0-master, which clients and charts refuse.
kubernetes_version_flags() {
  local version minor
  version=$(kubernetes_version)
  minor=${version#v*.}
  printf -- '-X k8s.io/component-base/version.%s ' "gitVersion=$version" gitMajor=1 "gitMinor=${minor%%.*}"
}

kubernetes_version() { module_version kubernetes k8s.io/kubernetes; }

# module_version MODULE PATH: the pinned version, read from where it is pinned
module_version() {
  awk -v path="$2" '$1 == "require" { $0 = substr($0, 9) } $1 == path && $2 ~ /^v/ { print $2; exit }' "$GO_MODULES/$1/go.mod"
}

# go_dir MODULE: where its programs are, or will be
go_dir() {
  local packages cgo tags ldflags keep key
  go_recipe "$1"
  key=$({ printf '%s\n' "$GO_VERSION" "${packages[@]}" "$cgo" "$tags" "$ldflags" "${keep[@]}"; cat "$GO_MODULES/$1"/go.{mod,sum}; } | hash_text)
  echo "$KIT_CACHE/bin/$1-$key"
}

go_build() {
  local module
  for module in "$@"; do go_build_module "$module"; done
}

go_build_module() {
  local packages cgo tags ldflags keep target work
  target=$(go_dir "$1")
  [[ -d "$target" ]] && return
  go_recipe "$1"
  work=$(scratch "build-$1")
  mkdir "$work/out"
  (
    cd "$GO_MODULES/$1" || return
    export GOFLAGS='' GOWORK=off CGO_ENABLED=$cgo CGO_CFLAGS=-O2
    # Read-only: a build that would need anything but the committed versions fails. Debug information would be stripped.
    "${POLITE[@]}" go build -mod=readonly -p "$KIT_JOBS" -buildvcs=false -trimpath \
      -tags "$tags" -gcflags all=-dwarf=false -ldflags "-s -w $ldflags" -o "$work/out/" "${packages[@]}"
    keep_module_folders "${packages[0]}" "$work/out"
  )
  [[ ! -f "$work/out/server" ]] || mv "$work/out/server" "$work/out/etcd" # the package is called server
  mkdir -p "$(dirname "$target")"
  mv "$work/out" "$target"
  remove_tree "$work"
}

# keep_module_folders PACKAGE TARGET: charts and templates, copied since the module cache may be cleaned at any time
keep_module_folders() {
  ((${#keep[@]})) || return 0
  local source folder
  source=$(go list -mod=readonly -f '{{.Module.Dir}}' "$1")
  for folder in "${keep[@]}"; do cp -r --no-preserve=mode "$source/$folder" "$2/$folder"; done
}
