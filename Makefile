# make run    everything on this machine, until Ctrl-C        make test   all tests
# make demo   the same with a simulated population            make setup  just the environment

.PHONY: run demo test setup setup-dev lint types check lock clean bench-model

run: setup
	@exec .venv/bin/ebbtide up $(ARGS)

demo: setup
	@exec .venv/bin/ebbtide up --demo $(ARGS)

test: setup-dev
	.venv/bin/python -m pytest $(PYTEST_ARGS)

setup: .venv/.installed
setup-dev: .venv/.installed-dev

# The stamps are as new as the lock that was installed. The developers' lock holds the other one.
.venv/.installed: requirements.lock pyproject.toml tools/setup
	@tools/setup requirements.lock
	@touch $@

.venv/.installed-dev: requirements-dev.lock requirements.lock pyproject.toml tools/setup
	@tools/setup requirements-dev.lock
	@touch $@ .venv/.installed

lint: setup-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: setup-dev
	.venv/bin/mypy

check: lint types test

# The two public logs in $EBBTIDE_DATA; one core, about ten minutes.
bench-model: setup-dev
	.venv/bin/python -m bench.model $(ARGS)

lock:
	tools/lock $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
