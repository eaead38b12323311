# shellcheck shell=bash
# The environment of the programs below operators/mysql/test; sourced after lib.sh.

# cluster_environment NAME exports what the demo, the benchmark and the scenarios read; NAME is the cluster's default name.
cluster_environment() {
  local archives=()
  export NAME=${NAME:-$1}
  case $CLUSTER in
  local) archives=("$OUT/images/mysql.tar" "$OUT/images/mysqld-exporter.tar" "$OUT/images/mysql-operator.tar" "$OUT/images/mysql-workload.tar") ;;
  kind) archives=("$OUT/images/mysql-operator.tar" "$OUT/images/mysql-workload.tar") ;;
  esac
  export CLUSTER_NAME=$NAME
  export OUT
  export IMAGES="${archives[*]}"
  export KAPOK_LOCALCLUSTER=$BIN/localcluster KAPOK_LOCALCLUSTER_SOURCE=$ROOT/hack/localcluster
  export OPERATOR_MANIFEST=$OUT/install/mysql-operator.yaml GUARD_MANIFEST=$OUT/install/mysql-secretguard.yaml
}

# store_image assembles the image of the S3 server that scenarios and chaos-backup keep backups in.
store_image() {
  local server
  server=$(cached_tool s3server versitygw github.com/versity/versitygw/cmd/versitygw)
  "$BIN/images" static --tag kapok.local/versitygw:dev --binary "$server=/versitygw" --entrypoint /versitygw --out "$OUT/images/versitygw.tar"
}
