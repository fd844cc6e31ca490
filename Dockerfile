# One static binary on an empty image: no shell, no package manager, nothing to update but Signet itself.
# Build: docker build -t signet .      Run: see docker-compose.yml.

FROM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY internal internal
COPY pkg pkg
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /image/usr/bin/signet ./cmd/signet
RUN install -d -m 0755 /image/etc/ssl/certs /image/etc/signet \
 && install -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && install -d -m 0700 /state/lib/signet /state/lib/signet/keys

FROM scratch
COPY --from=build /image/ /
# A new named volume takes owner and mode from the directory that it is laid over.
COPY --from=build --chown=65532:65532 /state/ /var/
# A number, so that an orchestrator can prove that it is not root.
USER 65532:65532
WORKDIR /var/lib/signet
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
# No HEALTHCHECK: orchestrators ask /livez and /readyz themselves.
ENTRYPOINT ["/usr/bin/signet"]
CMD ["serve", "--config", "/etc/signet/signet.yaml"]
