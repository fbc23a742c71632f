"""Which services become services of deployer, and which stay with Compose, and why."""

from __future__ import annotations

from deployer.manifest.compose.draft import Draft
from deployer.manifest.compose.jobs import SCHEDULERS, last_of
from deployer.manifest.compose.project import Project, table
from deployer.manifest.compose.reaching import users_port
from deployer.manifest.tree import Items, Scalar

KEEPS_DATA = "it keeps data, so no second copy may run beside it"
PROXY = "it is a proxy: deployer's own takes its place, or it stays in front"
ENDS = "it ends before others start: run it before a deploy, or as a command of `hooks`"
SCHEDULER = "it is a scheduler: its jobs are in `schedule`, and `deploy serve` or a timer runs them"
INLINE = "its Dockerfile is inside the Compose file: write it into a file to take the service over"
ELSEWHERE = "it is built from a place that is no folder here"
# fmt: off
DATA = frozenset((
    "postgres", "postgresql", "postgis", "timescaledb", "pgvector", "pgbouncer", "mysql", "mysql-server",
    "mariadb", "percona", "mssql", "cockroach", "redis", "redis-stack", "valkey", "keydb", "dragonfly",
    "memcached", "mongo", "mongodb", "rabbitmq", "kafka", "redpanda", "zookeeper", "nats", "mosquitto",
    "eclipse-mosquitto", "elasticsearch", "opensearch", "clickhouse", "clickhouse-server", "minio", "influxdb",
    "cassandra", "scylla", "couchdb", "neo4j", "etcd", "consul", "vault", "meilisearch", "typesense", "qdrant",
    "weaviate", "solr", "beanstalkd",
))
PROXIES = frozenset((
    "traefik", "caddy", "caddy-docker-proxy", "nginx-proxy", "nginx-proxy-manager", "haproxy", "envoy", "swag",
    "acme-companion", "docker-gen", "letsencrypt-nginx-proxy-companion", "cloudflared",
))
# fmt: on


def stays(project: Project, name: str) -> str:
    """Return why a service stays with Compose; empty for one that is taken over."""
    node = project.services[name]
    image = node.entries.get("image")
    last = last_of(image.text) if isinstance(image, Scalar) else ""
    if _is(last, DATA):
        return KEEPS_DATA
    if _is(last, PROXIES) or (last == "nginx" and "build" not in node.entries and _has_others_behind(project, name)):
        return PROXY
    if _is(last, SCHEDULERS):
        return SCHEDULER
    return ENDS if name in jobs(project) and not users_port(Draft(project, name)) else cannot(project, name)


def cannot(project: Project, name: str) -> str:
    """Return why a service cannot be taken over, whatever it is; empty where it can."""
    draft = Draft(project, name)
    build = draft.at("build")
    context = build.text if isinstance(build, Scalar) else draft.text("build", "context")
    if draft.at("build", "dockerfile_inline") is not None:
        return INLINE
    if "://" in context or context.startswith(("git@", "github.com/")):
        return ELSEWHERE
    return ""


def needed(project: Project, name: str) -> tuple[str, ...]:
    """Return the services on which one depends."""
    node = project.services[name].entries.get("depends_on")
    if isinstance(node, Items):
        return tuple(item.text for item in node.items if isinstance(item, Scalar))
    return tuple(table(project.services[name], "depends_on").entries)


def ordered(project: Project, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return services so that each comes after those on which it depends, as far as they do not do so in a ring."""
    done: list[str] = []

    def add(name: str, above: frozenset[str]) -> None:
        for other in needed(project, name):
            if other in names and other not in above:
                add(other, above | {other})
        if name not in done:
            done.append(name)

    for name in names:
        add(name, frozenset({name}))
    return tuple(done)


def jobs(project: Project) -> tuple[str, ...]:
    """Return the services that must have ended before others start."""
    found = []
    for name in project.services:
        for other in needed(project, name):
            condition = Draft(project, name).text("depends_on", other, "condition")
            if condition == "service_completed_successfully" and other not in found:
                found.append(other)
    return tuple(found)


def _is(image: str, known: frozenset[str]) -> bool:
    """Return whether an image is one of the known, or a variant of one: postgres-ha, redis_exporter."""
    return any(image == name or image.startswith((f"{name}-", f"{name}_")) for name in known)


def _has_others_behind(project: Project, name: str) -> bool:
    return bool(needed(project, name) or "links" in project.services[name].entries)
