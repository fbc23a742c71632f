"""Inventories, really read by Ansible."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeadlinePassed, Refused
from deployer.core.host import Host
from deployer.drivers.hosts.inventory import chosen, hosts
from deployer.drivers.hosts.markers import marked
from tests.machines.authority import Authority
from tests.services import require

pytestmark = pytest.mark.live
CLOCK = SystemClock()
VAULT = Path(sys.executable).with_name("ansible-vault")


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    require("ansible")
    monkeypatch.delenv("ANSIBLE_VAULT_PASSWORD_FILE", raising=False)


def read(inventory: Path | None, pattern: str = "all", seconds: float = 120, limit: str = "") -> dict[str, Host]:
    found = hosts(inventory, pattern, Deadline.after(CLOCK, seconds), limit=limit)
    assert [h.name for h in found] == sorted(h.name for h in found)
    return {h.name: h for h in found}


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    path.chmod(mode)
    return path


TEN = """\
    [web]
    web[1:8] ansible_host=10.0.0.1
    [edge]
    edge[1:2] ansible_port=2222 ansible_user=admin
    [blue]
    web[1:4]
    """


def test_a_yaml_inventory_with_group_vars_host_vars_and_templates(tmp_path: Path) -> None:
    write(
        tmp_path / "hosts.yml",
        """
        all:
          children:
            web: {hosts: {web2: , web1: {number: 7}}}
            edge: {hosts: {web1: , edge1: {deployer_address: 192.0.2.9}}}
        """,
    )
    write(
        tmp_path / "group_vars" / "web.yml", "ansible_host: '10.0.0.{{ number | default(8) }}'\nansible_user: deploy\n"
    )
    write(
        tmp_path / "host_vars" / "web2.yml",
        """
        ansible_port: "{{ 2200 + 1 }}"
        ansible_ssh_private_key_file: ~/key
        ansible_ssh_common_args: -J 'jump.example.com' -o UserKnownHostsFile={{ inventory_dir }}/known
        ansible_ssh_extra_args: -4
        """,
    )

    found = read(tmp_path)

    assert found["web1"] == Host("web1", "10.0.0.7", "ssh", "10.0.0.7", None, "deploy", groups=("edge", "web"))
    assert found["web2"].port == 2201
    assert found["web2"].key_file == str(Path("~/key").expanduser())
    assert found["web2"].ssh_args == ("-J", "jump.example.com", "-o", f"UserKnownHostsFile={tmp_path}/known", "-4")
    assert (found["edge1"].address, found["edge1"].ssh_host, found["edge1"].user) == ("192.0.2.9", "edge1", "")


def test_engines_behind_tls(tmp_path: Path) -> None:
    certs = Authority(tmp_path / "certs").folder
    variables = "deployer_engine: 'tcp://{{ ansible_host }}:2376'\ndeployer_engine_certs: ../certs\n"
    write(
        tmp_path / "inventory" / "hosts", "[web]\nweb1 ansible_host=10.0.0.1\nweb2 ansible_host=10.0.0.2\n[edge]\ne\n"
    )
    write(tmp_path / "inventory" / "group_vars" / "web.yml", variables)

    found = read(tmp_path / "inventory")

    assert (found["web2"].engine, found["web2"].engine_certs) == ("tcp://10.0.0.2:2376", str(certs))
    assert (found["e"].engine, found["e"].engine_certs) == ("", "")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("deployer_engine: tcp://10.0.0.1:2376", r"without deployer_engine_certs: a, b(.|\n)*go by ssh"),
        ("deployer_engine: 10.0.0.1:2376\ndeployer_engine_certs: certs", r"a has deployer_engine '10(.|\n)*tcp://"),
        ("deployer_engine: ssh://a\ndeployer_engine_certs: certs", "a has deployer_engine 'ssh://a'"),
        (
            "deployer_engine: tcp://a:1\ndeployer_engine_certs: certs",
            r"certs/ca.pem is not there; \S+certs/key.pem can be read by others \(mode 0644\)(.|\n)*chmod 600",
        ),
    ],
)
def test_an_engine_that_anybody_may_be_is_refused(tmp_path: Path, line: str, message: str) -> None:
    certs = Authority(tmp_path / "certs").folder
    (certs / "ca.pem").unlink()
    (certs / "key.pem").chmod(0o644)
    write(tmp_path / "hosts", "[web]\na\nb\n")
    write(tmp_path / "group_vars" / "web.yml", f"{line}\n")

    with pytest.raises(Refused, match=message):
        read(tmp_path / "hosts")


def test_an_ini_inventory_by_patterns_and_limits(tmp_path: Path) -> None:
    ini = write(tmp_path / "hosts", TEN)

    assert len(read(ini)) == 10
    assert list(read(ini, "web:!blue")) == ["web5", "web6", "web7", "web8"]
    assert list(read(ini, "web:&blue")) == ["web1", "web2", "web3", "web4"]
    assert list(read(ini, "web[0:1],edge*")) == ["edge1", "edge2", "web1", "web2"]
    assert list(read(ini, "web", limit="web3,~edge.")) == ["web3"]
    assert read(ini, "edge1")["edge1"].port == 2222


def test_a_script(tmp_path: Path) -> None:
    answer = '{"web": {"hosts": ["a"]}, "_meta": {"hostvars": {"a": {"ansible_host": "10.1.1.1"}}}}'
    script = write(tmp_path / "cloud.sh", f"#!/bin/sh\necho '{answer}'\n", 0o755)

    assert read(script, "web") == {"a": Host("a", "10.1.1.1", "ssh", "10.1.1.1", groups=("web",))}


def test_a_vault_with_its_password_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "inventory" / "hosts", "[web]\na\n")
    secret = write(tmp_path / "inventory" / "group_vars" / "web.yml", "ansible_host: 10.9.9.9\n")
    password = write(tmp_path / "password", "sesame\n", 0o600)
    subprocess.run([VAULT, "encrypt", "--vault-password-file", password, secret], check=True, capture_output=True)

    with pytest.raises(Refused, match=r"vault(.|\n)*set ANSIBLE_VAULT_PASSWORD_FILE"):
        read(tmp_path / "inventory")
    write(tmp_path / "inventory" / "ansible.cfg", f"[defaults]\nvault_password_file = {password}\n")
    assert hosts(tmp_path / "inventory", "web", Deadline.after(CLOCK, 120), folder=tmp_path / "inventory")
    monkeypatch.setenv("ANSIBLE_VAULT_PASSWORD_FILE", str(password))
    assert read(tmp_path / "inventory")["a"].address == "10.9.9.9"


def test_a_config_beside_the_manifest_is_obeyed(tmp_path: Path) -> None:
    ini = write(tmp_path / "inventories" / "hosts", "[web]\na\nb ansible_user=root\n")
    write(
        tmp_path / "ansible.cfg",
        """
        [defaults]
        remote_user = deploy
        private_key_file = /keys/id
        [ssh_connection]
        ssh_args = -F /etc/jump.conf
        """,
    )

    a, b = hosts(ini, "web", Deadline.after(CLOCK, 120), folder=tmp_path)

    assert a == Host("a", "a", "ssh", "a", None, "deploy", "/keys/id", ("-F", "/etc/jump.conf"), ("web",))
    assert b.user == "root"


def test_without_an_inventory_every_group_is_this_machine() -> None:
    for group in ("web", "edge"):
        (host,) = read(None, group).values()
        assert (host.name, host.connection, host.address) == ("localhost", "local", "127.0.0.1")


def test_the_example_has_the_groups_that_its_words_promise() -> None:
    example = chosen(None, Path()).parent / "example"

    assert list(read(example, "web")) == ["web1.example.com", "web2.example.com"]
    assert {h.user for h in read(example).values()} == {"deploy"}


@pytest.mark.parametrize(
    ("pattern", "limit", "message"),
    [
        ("wbe", "", r"has no group or host wbe\n  → did you mean web"),
        ("web:!bleu", "", "no group or host bleu\n  → did you mean blue"),
        ("web", "web11", "no group or host web11"),
        ("web", "edge1", "no host of .* matches web, limited to edge1"),
        ("zzz", "", r"has no group or host zzz\n  → it knows blue, edge, edge1"),
        ("empty", "", "no host of .* matches empty"),
    ],
)
def test_a_pattern_that_means_nothing_is_refused(tmp_path: Path, pattern: str, limit: str, message: str) -> None:
    ini = write(tmp_path / "hosts", TEN + "    [empty]\n")

    with pytest.raises(Refused, match=message):
        read(ini, pattern, limit=limit)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("all:\n  hosts:\n   a: {\n", r"hosts.yml cannot be read: YAML parsing failed: .*hosts.yml:4"),
        ("all: {hosts: {a: {ansible_connection: winrm}}}", "a has ansible_connection winrm"),
        ("all: {hosts: {a: {ansible_port: 99999}}}", "a has ansible_port 99999"),
        ('all: {hosts: {a: {ansible_ssh_common_args: "-o \'x"}}}', "the ssh arguments of a cannot be read"),
        ("all: {hosts: {a: {ansible_host: '{{ nothing }}'}}}", "'nothing' is undefined"),
    ],
)
def test_an_inventory_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        read(write(tmp_path / "hosts.yml", text))


def test_a_script_that_fails_says_why(tmp_path: Path) -> None:
    script = write(tmp_path / "cloud.sh", "#!/bin/sh\necho no token >&2\nexit 3\n", 0o755)

    with pytest.raises(Refused, match="non-zero exit code 3: no token"):
        read(script)


def test_a_missing_or_empty_inventory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="there is no inventory"):
        read(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="cannot be read"):
        read(tmp_path / "empty")


def test_a_script_that_hangs_is_ended_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.drivers.hosts.inventory.secrets.token_hex", lambda _n: "hangs")
    script = write(tmp_path / "cloud.sh", "#!/bin/sh\nsetsid sleep 300 & sleep 300\n", 0o755)

    with pytest.raises(DeadlinePassed, match="not finished within 2 s"):
        read(script, seconds=2)

    assert list(marked("hangs")) == []
