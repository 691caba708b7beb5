#!/usr/bin/env bash
# A day with mlgit, on real handwritten digits: the same day as `mlgit demo`, verb by verb, with fewer and shorter runs.
#
#   examples/day.sh DIR
#
# DIR must not exist yet; it stays, as a repository to play with. Needs mlgit[demo] on the path and no network.
set -euo pipefail
if [ $# -ne 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi

# A repository is a model directory with a folder .mlgit in it.
mlgit init "$1"
cd "$1"

# A task is labelled data in several domains: here digits that are blurred, bold, noisy, plain, rotated or shifted. The
# three parts share no image. Of `digit`, the rotated images are the test domain: no training and no selection reads them.
mlgit task add basics --kind digits --set labels=digit --set part=pretrain
mlgit task add parity --kind digits --set labels=parity --set part=auxiliary
mlgit task add digit --kind digits --set labels=digit --set part=target --test-domain rotate

# The pretrained model. `--train` trains and commits in one step; the commit records how.
mlgit import mlgit:digits-cnn -m "untrained network"
mlgit commit --task basics --train --lr 1e-3 --steps 100 --stage pretrain -m "pretrain on plain digits"
mlgit tag pretrained -m "where everything starts"

# An auxiliary task: the same network learns another question. Its featurizer will be recycled.
mlgit switch -c aux/parity main
mlgit commit --task parity --train --lr 5e-4 --steps 60 -m "auxiliary task parity"

# Two fine-tunings on the target task, from two initialisations. Both start from the same linear probe as classifier,
# which is trained once and kept under refs/probes.
mlgit switch -c digit/0 main
mlgit commit --task digit --train --lr 1e-3 --steps 60 --seed 0 -m "from the pretrained weights"
mlgit switch -c digit/1 aux/parity
mlgit commit --task digit --train --lr 1e-3 --steps 60 --seed 1 -m "from the auxiliary weights"

# Does the straight path between the two hold? Measured on the ID validation split, at eleven points.
mlgit lmc digit/0 digit/1 --task digit

# Average them. The path between every two members is checked before anything is written. With more models,
# `--strategy greedy` keeps those that do not lower the accuracy on ID validation.
mlgit switch -c soup main
mlgit merge 'digit/*' --task digit -m "soup of both"

# Two models that share no initialisation are no soup: the merge is refused with exit code 1, and nothing is written.
mlgit switch -c stranger main
mlgit import mlgit:digits-cnn --seed 1 -m "another untrained network"
mlgit commit --task digit --train --lr 1e-3 --steps 60 -m "a model with other random weights"
if mlgit merge stranger digit/0 --task digit -m "two strangers"; then
    echo "the merge of two strangers should have been refused" >&2
    exit 1
fi

# Only now the test domain is looked at: as a certificate that the soup must reach, judged by the lower end of an interval.
mlgit switch soup
cat > rotated.toml <<'CERTIFICATE'
name = "rotated-digits"
task = "digit"
split = "test"

[[threshold]]
metric = "accuracy"
at_least = 0.5
CERTIFICATE
mlgit certify soup --certificate rotated.toml
mlgit commit -m "keep the certificate beside the model"

# Share it: a clone has the whole history. Other tools read model.safetensors as it lies here.
mlgit clone . ../"$(basename "$PWD")-copy"
mlgit fsck

# The lineage: what came from what, with stage, task, accuracy and verdict.
mlgit log --graph --oneline --all
