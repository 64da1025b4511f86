# The example application as a worker: `celery -A verify_environment worker` by default, `hephaestus-celery demo` too.
#   worker   what `docker compose` runs
#   flower   the same with Flower, Celery's web monitor
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY hephaestus_celery hephaestus_celery
COPY examples examples
COPY deploy/docker deploy/docker
# What is installed are the releases that `make pins` wrote down, and no others.
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip wheel --quiet --disable-pip-version-check --no-cache-dir --no-deps --wheel-dir /dist . \
    && /opt/venv/bin/pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes -r deploy/docker/requirements.txt \
    && /opt/venv/bin/pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps /dist/*.whl

FROM ${PYTHON_IMAGE} AS worker
# /shared is what workers and demo share; a named volume that is mounted there takes over its owner.
RUN groupadd --gid 10001 hephaestus \
    && useradd --uid 10001 --gid hephaestus --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin hephaestus \
    && install --directory --owner hephaestus --group hephaestus /app /shared
COPY --from=wheel /opt/venv /opt/venv
COPY examples /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
USER 10001:10001
# SIGTERM is Celery's soft shutdown here: what runs may end within worker_soft_shutdown_timeout, the rest is left to others.
ENV REMAP_SIGTERM=SIGQUIT
# The worker's main process answers through the broker; asking costs a Python start, so it is not asked often.
HEALTHCHECK --interval=30s --timeout=20s --start-period=30s --retries=3 \
    CMD ["sh", "-c", "celery -A verify_environment inspect ping --timeout 10 --destination celery@$(hostname)"]
CMD ["celery", "-A", "verify_environment", "worker", "--loglevel", "INFO", "--concurrency", "2"]

FROM worker AS flower
USER 0
COPY deploy/docker/flower.txt /tmp/flower.txt
RUN /opt/venv/bin/pip install --quiet --disable-pip-version-check --no-cache-dir --require-hashes -r /tmp/flower.txt
USER 10001:10001
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://localhost:5555/healthcheck', timeout=4)"]
CMD ["celery", "-A", "verify_environment", "flower", "--port=5555"]

# Without --target the worker is what is built.
FROM worker
