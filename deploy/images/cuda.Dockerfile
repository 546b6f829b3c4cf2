# Encode and caption workers for NVIDIA GPUs, an image for each.
#   docker buildx build --file deploy/images/cuda.Dockerfile --target encode \
#       --build-arg CUDA_COMPUTE_CAP=90 --tag weimocir-encode-cuda .
# CUDA_COMPUTE_CAP is 10 times the compute capability of the oldest GPU to run on: 80 for A100, 86 for
# A10, 89 for L4, 90 for H100. From 90 on, one image serves only that generation. No GPU is needed to build;
# to run, a driver that is not older than the toolkit. How bases are pinned: see cpu.Dockerfile.

FROM rust:1.95.0-slim-trixie AS rust

FROM nvidia/cuda:13.0.2-devel-ubuntu24.04 AS build
COPY --from=rust /usr/local/rustup /usr/local/rustup
COPY --from=rust /usr/local/cargo /usr/local/cargo
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo \
    PATH=/usr/local/cargo/bin:/usr/local/cuda/bin:$PATH \
    CUDA_HOME=/usr/local/cuda \
    CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never
ARG CUDA_COMPUTE_CAP=80
ENV CUDA_COMPUTE_CAP=$CUDA_COMPUTE_CAP
WORKDIR /src
RUN mkdir -p /empty
COPY . .
# The driver's library is not in the image: the toolkit's stub stands for it while linking.
RUN --mount=type=cache,id=weimocir-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=weimocir-target-cuda-$CUDA_COMPUTE_CAP,target=/src/target,sharing=locked \
    LIBRARY_PATH=/usr/local/cuda/lib64/stubs:$LIBRARY_PATH \
    cargo build --release --locked --features cuda \
        --package weimocir-encode --package weimocir-caption \
    && install -D --target-directory=/out target/release/weimocir-encode target/release/weimocir-caption

FROM nvidia/cuda:13.0.2-runtime-ubuntu24.04 AS base
LABEL org.opencontainers.image.title="WeiMoCIR for GPUs" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=rust /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --chmod=0755 deploy/images/ready /usr/local/bin/ready
COPY --from=build --chown=65532:65532 /empty /models
ENV WEIMOCIR_LOG_FORMAT=json \
    HF_HUB_CACHE=/models \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
WORKDIR /

FROM base AS encode
COPY --from=build /out/weimocir-encode /usr/local/bin/weimocir-encode
ENV WEIMOCIR_DEVICE=cuda
ENTRYPOINT ["/usr/local/bin/weimocir-encode"]

FROM base AS caption
COPY --from=build /out/weimocir-caption /usr/local/bin/weimocir-caption
ENV WEIMOCIR_CAPTION_DEVICE=cuda
ENTRYPOINT ["/usr/local/bin/weimocir-caption"]
