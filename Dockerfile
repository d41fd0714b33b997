# One image for the nameserver, the broker and the tools: `docker build -t aiorocketmq .`
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY protocol protocol
COPY rmq_client rmq_client
COPY rmq_server rmq_server
RUN python -m venv /opt/rmq && /opt/rmq/bin/pip install --no-cache-dir .

FROM python:3.13-slim
RUN useradd --create-home --uid 10001 rmq && install -d -o rmq -g rmq /data
COPY --from=build /opt/rmq /opt/rmq
ENV PATH=/opt/rmq/bin:$PATH PYTHONUNBUFFERED=1
USER rmq
WORKDIR /data
VOLUME /data
EXPOSE 9876 10909 10911
CMD ["rmq", "standalone", "--host", "0.0.0.0", "--store", "/data"]
