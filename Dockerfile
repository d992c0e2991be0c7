# syntax=docker/dockerfile:1
# tests/server/test_install.py runs the RUN, HEALTHCHECK and CMD lines below in a clean folder, without Docker.
FROM python:3.11-slim-trixie AS build
WORKDIR /src
COPY . .
RUN python -m venv build-env
RUN build-env/bin/pip install --quiet --no-cache-dir --require-hashes -r requirements.lock
RUN build-env/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
RUN python -m venv /opt/tertulia
RUN /opt/tertulia/bin/pip install --quiet --no-cache-dir --require-hashes -r requirements.lock
RUN /opt/tertulia/bin/pip install --quiet --no-deps dist/tertulia-*.whl

FROM python:3.11-slim-trixie
RUN useradd --system --uid 10001 --home-dir /data --create-home tertulia
COPY --from=build /opt/tertulia /opt/tertulia
ENV PATH=/opt/tertulia/bin:$PATH TERTULIA_DATA=/data HOST=0.0.0.0 PORT=8000
USER tertulia
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD tertulia health
CMD ["tertulia", "serve"]
