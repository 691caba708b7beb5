#!/usr/bin/env bash
# Every strategy of "Model Ratatouille" on PACS, with one test domain, on two CPU cores.
#
#   reproduce.sh REPOSITORY DATA WEIGHTS [DOMAIN [RUNS [PRECISION]]]
#
# DOMAIN is the test domain (sketch), RUNS how many runs each strategy chooses from or averages (8), PRECISION what updates
# are computed in: float32, or bfloat16, which is faster on processors with AVX512-BF16 or AMX. The same command goes on
# after an interruption; another domain uses the auxiliary runs again; more runs are added to those there are.
#
# REPOSITORY is made, or gone on with. DATA holds pacs, natural_images and flowers, as folders DOMAIN/CLASS/IMAGE or as
# tar files of these. WEIGHTS holds mobilenetv1_imagenet.safetensors and mobilenet.py, the module that they belong to.
set -euo pipefail

# With this, glibc keeps the memory of one step for the next one, which saves time on a CPU: see docs/training.md.
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=17179869184 GLIBC_TUNABLES=glibc.malloc.hugetlb=1

here=$(cd "$(dirname "$0")" && pwd)
repository=$1 data=$(cd "$2" && pwd) weights=$(cd "$3" && pwd) domain=${4:-sketch} runs=${5:-8} precision=${6:-float32}

mkdir -p "$repository" && cd "$repository"
for name in pacs natural_images flowers; do
    if [ -d "$data/$name" ]; then
        ln -sfn "$data/$name" "data-$name"
    elif [ ! -d "data-$name" ]; then
        mkdir data-tmp && tar -xf "$data/$name.tar" -C data-tmp && mv "data-tmp/$name" "data-$name" && rmdir data-tmp
    fi
done
if [ ! -d .mlgit ]; then
    mlgit init .
    printf '%s\n' 'data-*' '__pycache__' >> .mlgitignore
    cp "$weights/mobilenet.py" "$here/network.py" .
    mlgit import python:network:create --weights "$weights/mobilenetv1_imagenet.safetensors" --trust-code -m ImageNet
    mlgit task add PACS --data data-pacs --set image_size=96
    mlgit task add natural_images --data data-natural_images --set image_size=96
    mlgit task add flowers --data data-flowers --set image_size=96
    mlgit commit -m "the tasks"
fi
mlgit recipe all --task PACS --test-domain "$domain" --aux natural_images --aux flowers --runs "$runs" --aux-runs 2 \
    --steps 300 --eval-every 50 --freeze-steps 15 --precision "$precision" --jobs 2 --threads 1 --trust-code
mlgit recipe table --task "PACS@$domain"
mlgit recipe figures --task "PACS@$domain" --out "figures-$domain" --trust-code
mlgit log --graph --oneline --all
mlgit du
