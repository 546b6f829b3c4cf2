# The weights of one encoder and one captioner, as an image that Kubernetes mounts as a volume: a node
# pulls it once, and its digest says that nothing is missing or changed.
#   docker buildx build --file deploy/images/weights.Dockerfile \
#       --build-arg CLI=weimocir-cli:0.1.0 --tag weimocir-weights .
# Both models are run once while the image is built, so that one that cannot be loaded is never pushed.
# A private or gated model takes `--secret id=hf_token,env=HF_TOKEN`.

ARG CLI
FROM ${CLI} AS fetch
ARG MODEL=laion/CLIP-ViT-B-32-laion2B-s34B-b79K
ARG CAPTIONER=Salesforce/blip-image-captioning-base
RUN --mount=type=secret,id=hf_token,uid=65532 \
    if [ -f /run/secrets/hf_token ]; then export HF_TOKEN_PATH=/run/secrets/hf_token; fi \
    && weimocir embed --model "$MODEL" --text ready --json > /dev/null \
    && weimocir caption --model "$CAPTIONER" --json /usr/local/share/weimocir/probe.png > /dev/null

FROM scratch AS weights
LABEL org.opencontainers.image.title="Weights for WeiMoCIR"
COPY --from=fetch /models /
USER 65532:65532
