# Build:  docker build -t tenantgate .
# Set up: docker run --rm -v tenantgate:/var/lib/tenantgate tenantgate init
# Run:    docker run --name gate -v tenantgate:/var/lib/tenantgate -p 8443:8443 tenantgate serve
# Use:    docker exec gate tenantgate status
# A certificate by ACME (docs/server-certificates.md): -p 443:8443 for tls-alpn-01; for http-01 acme.http_listen ":8080" and -p 80:8080.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The tags leave out databases of nosql that are not used here; the result is one static binary.
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -tags nobadger,nobadgerv1,nobadgerv2,nobbolt,nomysql,nopgx -o /out/tenantgate ./cmd/tenantgate \
 && mkdir -p /out/var/lib/tenantgate /out/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /out/var/lib/tenantgate /var/lib/tenantgate
COPY --from=build --chown=65532:65532 /out/tmp /tmp
COPY --from=build /out/tenantgate /usr/bin/tenantgate
USER 65532:65532
VOLUME /var/lib/tenantgate
WORKDIR /var/lib/tenantgate
EXPOSE 8443 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tenantgate"]
CMD ["--help"]
