# deeplora with an XLA plugin inside, so that nothing is fetched when it runs:
#   docker build -t deeplora . && docker run --rm deeplora demo
#   docker build -t deeplora:cuda --target cuda . && docker run --rm --gpus all deeplora:cuda doctor
# The steps are in scripts/image.sh, and `scripts/image_test.sh` takes them without Docker. The build fails if the
# plugin cannot be had; --build-arg ENGINE=none makes an image without one, which computes with the slower Go engine.
# In a closed network: the pinned wheel in .build/wheels, or --build-arg PIP_INDEX_URL=…, GOPROXY=…, GO_IMAGE=…,
# BASE_IMAGE=…. Builders that do not skip unused stages (Docker before 23 without BuildKit) fetch CUDA for nothing.

# Whole tags, since a digest could not be looked up where this was written; pin one with --build-arg GO_IMAGE=golang@sha256:….
ARG GO_IMAGE=golang:1.26.8-bookworm
ARG BASE_IMAGE=debian:bookworm-20260918-slim

FROM ${GO_IMAGE} AS build
WORKDIR /src
ARG GOPROXY
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN scripts/image.sh build /image

FROM build AS engine
ARG ENGINE=cpu
ARG PIP_INDEX_URL
RUN scripts/image.sh engine "$ENGINE" /image

FROM build AS engine-cuda
ARG PIP_INDEX_URL
ARG DEEPLORA_CUDA_SHA256
RUN scripts/image.sh engine cuda /image

FROM ${BASE_IMAGE} AS base
# The number is what Kubernetes's runAsNonRoot asks for. The home is for every user: docker run --user "$(id -u)".
RUN useradd --uid 10001 --create-home deeplora && chmod 1777 /home/deeplora
ARG VERSION=devel
ARG REVISION=unknown
LABEL org.opencontainers.image.title="deeplora" \
      org.opencontainers.image.description="Fine-tuning of BERT encoders with Deep LoRA" \
      org.opencontainers.image.source="https://github.com/deeplora/deeplora" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
ENV HOME=/home/deeplora
WORKDIR /home/deeplora
# Of deeplora serve --addr 0.0.0.0:8080, which SIGTERM ends once all that was asked is answered.
EXPOSE 8080
ENTRYPOINT ["deeplora"]
CMD ["--help"]

# NVIDIA's container runtime brings the driver and the devices: these variables ask it to.
FROM base AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ARG ENGINE=cpu
COPY --from=engine-cuda /image/cuda/ /
COPY --from=engine /image/${ENGINE}/ /
COPY --from=build /image/program/ /
USER 10001
# hadolint ignore=DL4006
RUN deeplora engine list | grep 'xla:cuda  *sound'

# The last stage is the one that is built unless --target names another.
FROM base AS cpu
ARG ENGINE=cpu
COPY --from=engine /image/${ENGINE}/ /
COPY --from=build /image/program/ /
USER 10001
# Here the plugin is opened on the very base it will run on. What fails before the pipe fails after it.
# hadolint ignore=DL4006
RUN case "$ENGINE" in none) want=go ;; *) want=xla:$ENGINE ;; esac; \
    deeplora doctor --json | grep -F "\"default_backend\": \"$want\""
