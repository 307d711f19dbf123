# The serving image: no torch, no compiler, no root. Build where a registry is in reach: docker build -t cds-service .
# The base image is pinned by digest at release (SEC-140); python:3.11-slim-bookworm is Debian 12.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /build
COPY requirements/build.txt requirements/serve.txt requirements/
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --no-compile --require-hashes -r requirements/serve.txt \
 && pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY cds_service cds_service
COPY hooks hooks
COPY model_assets model_assets
COPY sandbox sandbox
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation -w dist . \
 && /venv/bin/pip install --no-cache-dir --no-deps dist/*.whl \
 && /venv/bin/pip uninstall -y pip setuptools

FROM ${BASE}
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin cds \
 && find / -xdev -perm /6000 -type f -exec chmod a-s {} + \
 && install -d -o cds -m 0700 /state
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 CDS_STATE=/state
USER 10001
VOLUME /state
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["cds-service"]
CMD ["serve"]
