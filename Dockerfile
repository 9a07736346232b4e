# deeplora with the XLA plugin for CPUs inside:
#   docker build -t deeplora . && docker run --rm deeplora demo
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/bin/deeplora /usr/local/bin/deeplora
COPY --from=build /src/LICENSE /src/NOTICE /usr/share/doc/deeplora/
RUN useradd --create-home deeplora
USER deeplora
WORKDIR /home/deeplora
# Asked for here, once: nothing is fetched when the image runs. A build without a network goes on with the
# slow Go engine and says so.
RUN deeplora engine install --best-effort
ENTRYPOINT ["deeplora"]
