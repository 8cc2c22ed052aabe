# One image for all services: `ebbtide api`, `ebbtide scorer`, `ebbtide alerts`, `ebbtide history`, `ebbtide delivery`.
FROM python:3.12-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1

RUN useradd --create-home --uid 10001 ebbtide
WORKDIR /app

# The libraries first: they change less often than we do.
COPY requirements.lock ./
RUN pip install --require-hashes --only-binary :all: --requirement requirements.lock

COPY pyproject.toml README.md ./
COPY contracts contracts
COPY model model
COPY runtime runtime
COPY ingest_api ingest_api
COPY scorer scorer
COPY alerts alerts
COPY history history
COPY ebbtide ebbtide
RUN pip install --no-deps --no-build-isolation --no-index . && install -d -o ebbtide /app/artefact /app/keys

USER ebbtide

# A model to start with, trained on a simulated population (under a minute). Mount your own over it.
RUN python -c "from pathlib import Path; from ebbtide.demo_model import ensure; ensure(Path('/app/artefact'))"

ENV EBBTIDE_HOST=0.0.0.0 \
    EBBTIDE_HEALTH_HOST=0.0.0.0 \
    EBBTIDE_MODEL_DIR=/app/artefact

EXPOSE 8000

# For the gateway; docker-compose.yml has the workers'.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]

ENTRYPOINT ["ebbtide"]
CMD ["api"]
