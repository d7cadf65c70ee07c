# What the program is made of, as SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/): from `cargo metadata`, all that the root package may be
# linked with, and the packages of the system whose libraries lie in the image.
#   --arg program SHA256  --arg created TIME  --argjson system [{name, version}]

def id: gsub("[^A-Za-z0-9.-]"; "-") | "SPDXRef-" + .;
def needs($nodes): [$nodes[.].deps[] | select(any(.dep_kinds[]; .kind == null)) | .pkg];

INDEX(.resolve.nodes[]; .id) as $nodes
| INDEX(.packages[]; .id) as $packages
| .resolve.root as $root
| ({seen: {($root): true}, next: [$root]}
   | until(.next == [];
       ([.next[] | needs($nodes)[]] | unique) as $found
       | .seen as $seen
       | .next = [$found[] | select($seen[.] | not)]
       | .seen = reduce .next[] as $one ($seen; .[$one] = true))
   | .seen | keys) as $all
| def of: $packages[.] | "cargo-\(.name)-\(.version)" | id;
{
  spdxVersion: "SPDX-2.3",
  dataLicense: "CC0-1.0",
  SPDXID: "SPDXRef-DOCUMENT",
  name: "hks \($packages[$root].version)",
  documentNamespace: "\($packages[$root].repository)/sbom/\($program)",
  creationInfo: { created: $created, creators: ["Tool: hks-image"] },
  packages: (
    [$all[] | $packages[.] | {
      SPDXID: (.id | of),
      name,
      versionInfo: .version,
      downloadLocation: (if .source == null then .repository else "https://crates.io/api/v1/crates/\(.name)/\(.version)/download" end),
      filesAnalyzed: false,
      licenseConcluded: "NOASSERTION",
      licenseDeclared: ((.license // "NOASSERTION") | gsub("/"; " OR ")),
      copyrightText: "NOASSERTION",
      externalRefs: [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: "pkg:cargo/\(.name)@\(.version)" }]
    } + (if .id == $root then { checksums: [{ algorithm: "SHA256", checksumValue: $program }] } else {} end)]
    + [$system[] | {
      SPDXID: ("deb-\(.name)-\(.version)" | id),
      name,
      versionInfo: .version,
      downloadLocation: "NOASSERTION",
      filesAnalyzed: false,
      licenseConcluded: "NOASSERTION",
      licenseDeclared: "NOASSERTION",
      copyrightText: "NOASSERTION",
      externalRefs: [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: "pkg:deb/debian/\(.name)@\(.version | @uri)" }]
    }]
  ),
  relationships: (
    [{ spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: ($root | of) }]
    + [$all[] as $one | ($one | needs($nodes))[] | { spdxElementId: ($one | of), relationshipType: "DEPENDS_ON", relatedSpdxElement: of }]
    + [$system[] | { spdxElementId: ($root | of), relationshipType: "DEPENDS_ON", relatedSpdxElement: ("deb-\(.name)-\(.version)" | id) }]
  )
}
