# The programs for CPUs, an image for each: store, query, gateway, encode, caption and cli.
#   docker buildx build --file deploy/images/cpu.Dockerfile --target store --tag weimocir-store .
# Stages that need no candle compile none. What cargo fetched and compiled stays in cache mounts, so that
# a change compiles what it touches. Base images are pinned by their exact tags; pin their digests too
# where tags may move (`docker buildx imagetools inspect TAG` tells them).

FROM rust:1.95.0-slim-trixie AS sources
ENV CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never
WORKDIR /src
# Folders that are copied with their owner, because a volume takes the owner of the folder it covers.
RUN mkdir -p /empty
COPY . .

FROM sources AS build-light
RUN --mount=type=cache,id=weimocir-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=weimocir-target-light,target=/src/target,sharing=locked \
    cargo build --release --locked \
        --package weimocir-store --package weimocir-query --package weimocir-gateway \
    && install -D --target-directory=/out \
        target/release/weimocir-store target/release/weimocir-query target/release/weimocir-gateway

FROM sources AS build-models
RUN --mount=type=cache,id=weimocir-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=weimocir-target-models,target=/src/target,sharing=locked \
    cargo build --release --locked \
        --package weimocir-encode --package weimocir-caption --package weimocir-cli \
    && install -D --target-directory=/out \
        target/release/weimocir-encode target/release/weimocir-caption target/release/weimocir

# What every image runs on. `ready` asks a program whether it is ready, for health checks of Compose.
FROM debian:13.4-slim AS base
LABEL org.opencontainers.image.title="WeiMoCIR" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=sources /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --chmod=0755 deploy/images/ready /usr/local/bin/ready
ENV WEIMOCIR_LOG_FORMAT=json
USER 65532:65532
WORKDIR /

FROM base AS store
COPY --from=sources --chown=65532:65532 /empty /var/lib/weimocir
COPY --from=build-light /out/weimocir-store /usr/local/bin/weimocir-store
ENV WEIMOCIR_STORE_DATA=/var/lib/weimocir/store
ENTRYPOINT ["/usr/local/bin/weimocir-store"]

FROM base AS query
COPY --from=build-light /out/weimocir-query /usr/local/bin/weimocir-query
ENTRYPOINT ["/usr/local/bin/weimocir-query"]

FROM base AS gateway
COPY --from=build-light /out/weimocir-gateway /usr/local/bin/weimocir-gateway
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/weimocir-gateway"]

# Models of the hub are kept in /models, where a volume belongs.
FROM base AS with-models
COPY --from=sources --chown=65532:65532 /empty /models
ENV HF_HUB_CACHE=/models

FROM with-models AS encode
COPY --from=build-models /out/weimocir-encode /usr/local/bin/weimocir-encode
ENTRYPOINT ["/usr/local/bin/weimocir-encode"]

FROM with-models AS caption
COPY --from=build-models /out/weimocir-caption /usr/local/bin/weimocir-caption
ENTRYPOINT ["/usr/local/bin/weimocir-caption"]

FROM with-models AS cli
COPY --from=build-models /out/weimocir /usr/local/bin/weimocir
# A picture to try a captioner with.
COPY --chmod=0644 deploy/images/probe.png /usr/local/share/weimocir/probe.png
ENTRYPOINT ["/usr/local/bin/weimocir"]
