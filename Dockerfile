# docker build --tag misread .
# docker run --rm --volume "$PWD:/work" misread train digits --recipe fast
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
COPY --from=build /wheels /wheels
COPY constraints.txt /wheels/
# the CPU build of PyTorch: the default one brings gigabytes of CUDA libraries
RUN python -m pip install --no-cache-dir --constraint /wheels/constraints.txt \
        --extra-index-url https://download.pytorch.org/whl/cpu "torch==2.13.0+cpu" \
    && python -m pip install --no-cache-dir --constraint /wheels/constraints.txt /wheels/*.whl \
    && useradd --uid 10001 --create-home misread \
    && mkdir /work && chown misread /work
# by its number, which Kubernetes can compare with 0
USER 10001
WORKDIR /work
ENTRYPOINT ["misread"]
CMD ["--help"]
