# Each target sets up .venv by itself when it is missing or stale.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo serve test lint bench env clean

env:
	@PYTHON=$(PYTHON) bash scripts/setup_env.sh

demo: env
	@bash examples/demo.sh

serve: env
	@[ -f runs/demo/model.safetensors ] || bash examples/demo.sh
	@$(BIN)/tagformer serve runs/demo --open

test: env
	@$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term --cov-fail-under=90

lint: env
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: env
	@for name in cat ctran data known_sweep metrics mltr; do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

clean:
	rm -rf .venv runs/demo runs/demo-stages .pytest_cache .mypy_cache .ruff_cache
