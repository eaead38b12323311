#!/usr/bin/env bash
# Assembles the container images into .out/images: our own from static binaries, and for CLUSTER=local MySQL and its exporter from
# Debian packages (elsewhere the official public images are used).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

images=$(go_tool images)
folder=$OUT/images

own_images() {
  "$images" static --tag ghcr.io/kapok-operators/mysql-operator:dev \
    --binary "$BIN/mysql-operator=/mysql-operator" --binary "$BIN/mysql-agent=/mysql-agent" \
    --entrypoint /mysql-operator --out "$folder/mysql-operator.tar"
  "$images" static --tag ghcr.io/kapok-operators/mysql-workload:dev \
    --binary "$BIN/mysql-workload=/mysql-workload" --entrypoint /mysql-workload --out "$folder/mysql-workload.tar"
}

operand_images() {
  "$images" build mysql mysqld-exporter --out "$folder"
}

mkdir -p "$folder"
if [[ $CLUSTER == local ]]; then
  step 'assemble the MySQL and exporter images from Debian packages' operand_images
fi
"$ROOT/hack/build.sh"
step 'assemble the operator and client images' own_images
