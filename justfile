# The recipes CI and people share; `just` lists them.

default:
    @just --list

# Everything that must pass before a change lands
check: lint types contracts test

# Rewrite files in the project's style
format:
    ruff format .
    ruff check --fix .

# Style and common mistakes
lint:
    ruff format --check .
    ruff check .

# Static types
types:
    mypy

# Which part may import which
contracts:
    lint-imports

# All tests, on all cores
test *ARGS:
    pytest -n auto -q {{ARGS}}

# Break storage on purpose, at full counts: kills, power cuts, refused writes, damage, crowds. Takes hours; wants root.
gate *ARGS:
    pytest tests/gate --full -q --timeout 0 -o addopts="-ra --strict-markers --strict-config --import-mode=importlib" {{ARGS}}

# Fuzz a reader for some seconds: pack, record, header, refs, catalogue or graph; wants the extra `fuzz`
fuzz TARGET SECONDS="600":
    mkdir -p .fuzz/{{TARGET}}
    python tests/fuzz/fuzz_readers.py {{TARGET}} -max_total_time={{SECONDS}} -artifact_prefix=.fuzz/ .fuzz/{{TARGET}} tests/fuzz/corpus/{{TARGET}}

# The main job, in a fresh directory
demo:
    mlgit demo "$(mktemp -d)/demo"
