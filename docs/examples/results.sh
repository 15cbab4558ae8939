#!/bin/sh
# The runs of docs/results.md, into the folder runs/ of where it is started. Begun again it goes on where it was stopped.
#
#   sh docs/examples/results.sh                    # scenes
#   sh docs/examples/results.sh path/to/parquet    # and CIFAR-10: a folder of parquet files with its 60,000 images
set -e
here=$(dirname "$0")
plain="--set privacy.epsilon=inf"
run() { recipe=$1; name=$2; shift 2; dpaudit run "$here/$recipe.yaml" --set seed=$seed --set name="$name-$seed" "$@"; }
start() { echo "--set start.pretrain=null --set start.weights=runs/$1-$seed/start/model.safetensors --set privacy.initial_weights=synthetic"; }
for seed in 0 1 2; do
  run scenes-vip scenes-vip-8
  synthetic=$(start scenes-vip-8)
  run scenes-dp-cap scenes-dp-cap-8 $synthetic
  run scenes-vip scenes-vip-inf $synthetic $plain --set privacy.batch_size=256 --set privacy.steps=400
  run scenes-dp-cap scenes-dp-cap-inf $synthetic $plain --set privacy.batch_size=256 --set privacy.steps=200
  run scenes-dp-clip scenes-dp-clip-8
  run scenes-dp-clip scenes-dp-clip-inf $plain --set privacy.steps=200
  run scenes-logit-dp scenes-logit-dp-8
  run scenes-logit-dp scenes-logit-dp-inf $plain --set privacy.steps=200
  [ -n "$1" ] || continue
  run cifar10-vip cifar10-vip-8 --set data.path="$1"
  run cifar10-vip cifar10-vip-inf $(start cifar10-vip-8) $plain --set privacy.batch_size=256 --set privacy.steps=400 --set data.path="$1"
  run cifar10-dp-cap cifar10-dp-cap-8 --set data.path="$1"
  run cifar10-dp-cap cifar10-dp-cap-inf $(start cifar10-dp-cap-8) --set start.trainer=null $plain --set privacy.batch_size=256 --set privacy.steps=200 --set data.path="$1"
done
