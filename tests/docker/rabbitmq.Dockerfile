# Stands in for the official RabbitMQ image where no registry is at hand: Debian's package, set up the same way.
ARG PYTHON_IMAGE=python:3.13-slim-trixie
FROM ${PYTHON_IMAGE}
# Whatever version Debian has.
# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -y -q --no-install-recommends rabbitmq-server \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory /etc/rabbitmq/conf.d \
    && echo 'loopback_users.guest = false' > /etc/rabbitmq/conf.d/10-defaults.conf
ENV RABBITMQ_LOGS=-
VOLUME /var/lib/rabbitmq
EXPOSE 5672
# The package gives the number.
# hadolint ignore=DL3066
USER rabbitmq
# Not the wrapper of the package, which writes a log of its own beside what it prints.
CMD ["/usr/lib/rabbitmq/bin/rabbitmq-server"]
