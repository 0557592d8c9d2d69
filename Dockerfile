# proxyd with the shipped configuration:
#
#   docker build --tag proxyd .
#   docker run --rm --publish 8080:8080 proxyd
#
# A configuration of your own goes over /etc/proxyd. Relative file names in it start from
# /var/lib/proxyd, the one directory the process can write to.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked
# Inside a container the loopback address is nobody else's.
RUN sed -i 's/listen 127\.0\.0\.1:8080 /listen 8080 /' conf/proxyd.conf \
    && grep --quiet 'listen 8080 ' conf/proxyd.conf

FROM debian:bookworm-slim
RUN groupadd --system --gid 101 proxyd \
    && useradd --system --uid 101 --gid proxyd --home-dir /var/lib/proxyd --no-create-home \
        --shell /usr/sbin/nologin proxyd \
    && install --directory --owner proxyd --group proxyd --mode 0750 /var/lib/proxyd
COPY --from=build /source/target/release/proxyd /usr/sbin/proxyd
COPY --from=build /source/conf/proxyd.conf /source/conf/mime.types /etc/proxyd/
COPY --from=build /source/static /var/lib/proxyd/static
COPY --from=build /source/LICENSE /usr/share/doc/proxyd/LICENSE
USER proxyd
WORKDIR /var/lib/proxyd
EXPOSE 8080
# Requests under way are finished.
STOPSIGNAL SIGQUIT
# The process itself is PID 1: the configuration says `daemon off;` and logs to stdout and stderr.
ENTRYPOINT ["/usr/sbin/proxyd", "-p", "/var/lib/proxyd", "-c", "/etc/proxyd/proxyd.conf"]
