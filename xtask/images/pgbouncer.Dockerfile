# pgbouncer:1 where a registry answers: no official image has this name and these variables.
# Not run when it was written, for want of a registry; xtask/images/build.sh makes the same image without one.
FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends pgbouncer \
    && rm -rf /var/lib/apt/lists/*
COPY --chmod=755 pgbouncer.sh /usr/local/bin/pgbouncer.sh
ENTRYPOINT ["/usr/local/bin/pgbouncer.sh"]
