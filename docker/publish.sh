#!/usr/bin/env bash
# Builds one target of docker-bake.hcl with provenance and a bill of materials, signs it, and publishes it.
#
#   docker/publish.sh TARGET push            to the registry; signed there with the identity of the workflow
#   docker/publish.sh TARGET oci DIRECTORY   a dry run without a registry: to an OCI directory, signed with a key of its own
set -euo pipefail

target=${1:?usage: docker/publish.sh TARGET push|oci [DIRECTORY]}
way=${2:?usage: docker/publish.sh TARGET push|oci [DIRECTORY]}
attestations=(--provenance=mode=max --sbom=true --metadata-file metadata.json)

digest() { jq --raw-output --arg target "$target" '.[$target]["containerimage.digest"]' metadata.json; }

case $way in
push)
  docker buildx bake "$target" --push "${attestations[@]}"
  docker buildx bake "$target" --print | jq --raw-output --arg target "$target" '.target[$target].tags[]' |
    while read -r tag; do cosign sign --yes "${tag%:*}@$(digest)"; done
  ;;
oci)
  directory=${3:?usage: docker/publish.sh TARGET oci DIRECTORY}
  docker buildx bake "$target" --set "$target.output=type=oci,tar=false,dest=$directory" "${attestations[@]}"
  index="$directory/blobs/sha256/$(jq --raw-output '.manifests[0].digest' "$directory/index.json" | cut -d: -f2)"
  # The image's manifest, and beside it the one with its attestations.
  jq --exit-status '[.manifests[].annotations["vnd.docker.reference.type"] // "image"] | sort == ["attestation-manifest", "image"]' "$index"
  export COSIGN_PASSWORD=""
  cosign generate-key-pair
  digest > digest.txt
  cosign sign-blob --yes --key cosign.key --tlog-upload=false --output-signature digest.sig digest.txt
  cosign verify-blob --key cosign.pub --insecure-ignore-tlog=true --signature digest.sig digest.txt
  ;;
*)
  echo "publish: got '$way', expected push or oci" >&2
  exit 2
  ;;
esac
digest
