# shellcheck shell=bash
# How an image is made (a folder becomes one layer) and reaches the local registry. What is in each: images.sh.

# Every image is tagged with the key of what it is made of, so that a changed one is a new one for everybody.
# These have a plain name besides, for manifests outside of the kit.
declare -A PUBLIC_NAMES=(
  [busybox]=busybox:1
  [postgres]=postgres:15
  [hexabase-web-1]=hexabase-web:1.0.0
  [hexabase-web-2]=hexabase-web:2.0.0
)

image_key() { { declare -f "image_$1" root_base image_build; "image_$1_inputs"; } | hash_text; }

# The vCluster reads the version of its Kubernetes from the tag.
image_tag() {
  if [[ "$1" == kubernetes ]]; then
    echo "$(kubernetes_version)-$(image_key "$1")"
  else
    image_key "$1"
  fi
}

image_ref() { echo "$REGISTRY/hks-kit/$1:$(image_tag "$1")"; }

images_up() {
  local name key
  for name in "$@"; do
    key=$(image_key "$name") # once: what is pushed is what was made, even if a source changes meanwhile
    image_build "$name" "$key"
    image_push "$name" "$key" "hks-kit/$name:$(image_tag "$name")"
    [[ -z "${PUBLIC_NAMES[$name]:-}" ]] || image_push "$name" "$key" "${PUBLIC_NAMES[$name]}"
  done
}

# image_build NAME KEY: an OCI layout in the cache. image_NAME fills the folder and appends to `config`.
image_build() {
  local layout work config=()
  layout="$KIT_CACHE/images/$1-$2"
  [[ -d "$layout" ]] && return
  echo "making image $1"
  work=$(scratch "image-$1")
  mkdir "$work/root"
  "image_$1" "$work/root"
  # Same input, same layer: no times, no names of this machine's users.
  tar --sort=name --mtime=@0 --numeric-owner --xattrs -C "$work/root" -cf "$work/layer.tar" .
  umoci init --layout "$work/oci"
  umoci new --image "$work/oci:image"
  umoci raw add-layer --image "$work/oci:image" "$work/layer.tar"
  umoci config --image "$work/oci:image" --architecture amd64 --os linux "${config[@]}"
  mkdir -p "$KIT_CACHE/images"
  mv "$work/oci" "$layout"
  remove_tree "$work"
}

# image_push NAME KEY REPOSITORY:TAG
image_push() {
  local stamp="$KIT_STATE/stamps/image-${3//[\/:]/-}"
  [[ "$(cat "$stamp" 2>/dev/null)" == "$2" ]] && registry_has "$3" && return
  registry_put "$KIT_CACHE/images/$1-$2:image" "$3"
  printf '%s\n' "$2" | write_file "$stamp"
}

# registry_put LAYOUT:IMAGE REPOSITORY:TAG
registry_put() {
  skopeo copy -q --dest-tls-verify=false "oci:$1" "docker://$REGISTRY/$2"
  # A plain name stays while its content changes: the node must not serve it from its own store.
  if daemon_alive containerd; then
    ctr --address "$CONTAINERD_SOCKET" --namespace k8s.io images rm "$REGISTRY/$2" || true
  fi
}

registry_has() {
  curl -sf -o /dev/null --max-time 5 --noproxy '*' --head -H 'Accept: application/vnd.oci.image.manifest.v1+json' \
    "http://$REGISTRY/v2/${1%:*}/manifests/${1##*:}"
}

# A family is images that differ in nothing but their configuration: one layer, made and kept once, under many plain
# names. family_NAME prints a line for each: REPOSITORY:TAG, and what `umoci config` is given for it.
family_up() {
  local name base key
  for name in "$@"; do
    base=$(image_key "$name")
    key=$({ echo "$base"; declare -f family_build; "family_$name"; } | hash_text)
    family_build "$name" "$base" "$key"
    family_push "$name" "$key"
  done
}

family_build() {
  local layout="$KIT_CACHE/images/family-$1-$3" work reference options
  [[ -d "$layout" ]] && return
  image_build "$1" "$2"
  work=$(scratch "family-$1")
  cp -r "$KIT_CACHE/images/$1-$2" "$work/oci"
  while read -r reference options; do
    # shellcheck disable=SC2086 # several words
    umoci config --image "$work/oci:image" --tag "$reference" $options
  done < <("family_$1")
  mv "$work/oci" "$layout"
  remove_tree "$work"
}

# The stamp is written after the last, which then speaks for all.
family_push() {
  local stamp="$KIT_STATE/stamps/family-$1" references reference
  mapfile -t references < <("family_$1" | cut -d' ' -f1)
  [[ "$(cat "$stamp" 2>/dev/null)" == "$2" ]] && registry_has "${references[-1]}" && return
  for reference in "${references[@]}"; do
    registry_put "$KIT_CACHE/images/family-$1-$2:$reference" "$reference"
  done
  printf '%s\n' "$2" | write_file "$stamp"
}

# root_base ROOT: certificates, users, a temporary folder; what a static program expects to find
root_base() {
  mkdir -p "$1"/{tmp,etc/ssl/certs}
  chmod 1777 "$1/tmp"
  cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
  printf 'root:x:0:0:root:/:/bin/sh\nnonroot:x:65532:65532:nonroot:/:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$1/etc/passwd"
  printf 'root:x:0:\nnonroot:x:65532:\nnogroup:x:65534:\n' >"$1/etc/group"
}

# root_shell ROOT: a shell and the usual small tools
root_shell() {
  local applet
  mkdir -p "$1/bin"
  cp "$(command -v busybox)" "$1/bin/busybox"
  for applet in $(busybox --list); do [[ "$applet" == busybox ]] || ln -s busybox "$1/bin/$applet"; done
  config+=(--config.env PATH=/bin)
}

deb_version() { dpkg-query -W -f '${Package}=${Version}\n' "$@"; }
