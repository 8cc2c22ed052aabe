# make run    everything on this machine, until Ctrl-C        make test   all tests
# make demo   the same with a simulated population            make setup  just the environment
# make chaos  faults under load (docs/reliability.md): ARGS="--events 1000000 --faults 200"

.PHONY: run demo test chaos setup setup-dev lint types check lock clean bench bench-peers bench-model

run: setup
	@exec .venv/bin/ebbtide up $(ARGS)

demo: setup
	@exec .venv/bin/ebbtide up --demo $(ARGS)

# Without tests/chaos, which takes some minutes: `.ci/run` has steps of its own for it.
# Several processes, each with servers of its own, for most tests wait for something to happen.
test: setup-dev
	.venv/bin/python -m pytest --ignore tests/chaos -n 3 --dist worksteal $(PYTEST_ARGS)

chaos: setup-dev
	.venv/bin/python -m tests.chaos $(ARGS)

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

# /predict and the stream, beside what does less, into docs/performance.md; some twelve minutes.
bench: setup-dev
	mkdir -p build/bench
	.venv/bin/python -m bench.serving --json build/bench/serving.json
	.venv/bin/python -m bench.stream --json build/bench/stream.json $(ARGS)
	.venv/bin/python -m bench.pressure --json build/bench/pressure.json
	.venv/bin/python -m bench.page --serving build/bench/serving.json \
		--stream build/bench/stream.json --pressure build/bench/pressure.json
	.venv/bin/python -m bench.smoke \
		--serving build/bench/serving.json --stream build/bench/stream.json

# Beside other frameworks, each in an environment of its own (some gigabytes in ~/.cache, made once);
# about ten minutes once they are there. ARGS="--only litserve" for one, "--broker kafka" for Kafka.
bench-peers: setup-dev
	.venv/bin/python -m bench.peers --write --json build/bench/peers.json $(ARGS)

# The two public logs in $EBBTIDE_DATA; one core, about ten minutes.
bench-model: setup-dev
	.venv/bin/python -m bench.model $(ARGS)

lock:
	tools/lock $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
