# One image for every process of the shop: `docker run polyglot-shop run PROCESS`.
# Nothing in it is bound to an architecture: it is built for amd64 and arm64 from the same lines.
FROM python:3.13-slim AS python

# The dependencies, each checked against the hashes in requirements.txt.
FROM python AS dependencies
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends binutils
RUN python3 -m venv /opt/shop
COPY requirements.txt /
RUN /opt/shop/bin/pip install --no-cache-dir --disable-pip-version-check --quiet --no-compile --require-hashes -r /requirements.txt

# Our own code, with what is generated from the contracts.
FROM dependencies AS code
WORKDIR /app
COPY . .
# Readable for the user that runs it, whatever umask the repository was cloned under.
RUN /opt/shop/bin/python -m protos && /opt/shop/bin/python -m compileall -q . && chmod -R a+rX .

# What only a build needs goes, and debugging symbols: two fifths of the dependencies' size.
FROM dependencies AS runtime
WORKDIR /opt/shop/lib/python3.13/site-packages
RUN rm -rf pip pip-* setuptools setuptools-* pkg_resources _distutils_hack distutils-precedence.pth grpc_tools grpcio_tools-* /opt/shop/bin/pip* \
 && find . -name '*.so*' -exec strip --strip-unneeded {} + \
 && find . -depth \( -name '*.c' -o -name '*.h' -o -name '*.pyx' -o -name '*.pyi' -o -path '*/tests/*' \) -delete \
 && /opt/shop/bin/python -W ignore -m compileall -q . \
 && echo /app >shop.pth \
 && printf '#!/opt/shop/bin/python\nfrom shop.__main__ import main\n\nmain()\n' >/opt/shop/bin/shop \
 && chmod +x /opt/shop/bin/shop

# The base without its installers and manuals. Removed in a layer of its own they would still be there below it,
# so the image begins with nothing, and takes what is left.
FROM python AS base
RUN useradd --uid 10001 --user-group --home-dir /app --shell /usr/sbin/nologin shop \
 && install -d -o shop -g shop /var/lib/shop \
 && rm -rf /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian /usr/share/perl5 \
    /usr/share/python-wheels /usr/share/bash-completion /var/lib/apt /var/cache/apt /var/cache/debconf /var/log/* \
    /usr/lib/python3/dist-packages/pip* /usr/local/lib/python3.*/site-packages/pip* /usr/local/bin/pip* \
    /usr/lib/python3.*/ensurepip /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/idlelib \
    /usr/local/lib/python3.*/test /usr/local/lib/python3.*/config-*

FROM scratch
COPY --from=base / /
COPY --from=runtime /opt/shop /opt/shop
COPY --from=code /app /app
ENV PATH=/opt/shop/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2 \
    SHOP_HOST=0.0.0.0 SHOP_DATA_DIR=/var/lib/shop SHOP_HEALTH_PORT=8030
WORKDIR /app
USER 10001:10001
STOPSIGNAL SIGTERM
# A check that a busy machine does not let finish ends itself: it counts against the container's memory, too.
HEALTHCHECK --interval=10s --timeout=5s --start-period=40s --retries=3 \
  CMD ["timeout", "--signal=KILL", "5", "python", "-m", "shop.commands.processes.healthy"]
ENTRYPOINT ["shop"]
CMD ["--help"]
