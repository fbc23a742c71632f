"""Data by lifecycle playbooks `save.yml` and `restore.yml`, played by the real Ansible on this host."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.bundle.collect import part_of
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Refused
from deployer.drivers.hosts.verbs import AnsibleVerbs
from deployer.drivers.ports.data import Restoring, SavedData
from deployer.drivers.runtime.ansible.data import AnsibleData
from deployer.manifest.models import Manifest
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.long("four playbooks")]
SAVE = """\
- name: Save
  hosts: deployer_machine
  gather_facts: false
  tasks:
    - name: Dump the rows of {{ deployer_service }}
      ansible.builtin.fetch: {src: "%(rows)s", dest: "{{ deployer_data }}", flat: true}
"""
RESTORE = """\
- name: Restore
  hosts: deployer_machine
  gather_facts: false
  tasks:
    - name: Look for rows
      ansible.builtin.stat: {path: "%(rows)s"}
      register: rows
    - name: Leave rows that are there
      ansible.builtin.fail: {msg: there are rows already}
      when: rows.stat.exists and not deployer_overwrite
    - name: Write the rows
      ansible.builtin.copy: {src: "{{ deployer_data }}", dest: "%(rows)s", mode: preserve}
"""


def data_of(folder: Path) -> AnsibleData:
    said = {"service": "shop", "image": "app", "version": "1", "port": 80, "runtime": "ansible", "verbs": "verbs"}
    manifest = Manifest.model_validate(said)
    return AnsibleData(manifest, folder, None, AnsibleVerbs(None), folder / "scratch")


def test_playbooks_save_data_and_restore_it_where_none_is(tmp_path: Path) -> None:
    require("ansible")
    rows, verbs = tmp_path / "rows", tmp_path / "verbs"
    verbs.mkdir()
    deadline = Deadline.after(SystemClock(), 120)
    with pytest.raises(Refused, match=r"have no save.yml and no restore.yml"):
        data_of(tmp_path).names()
    for name, text in (("save", SAVE), ("restore", RESTORE)):
        (verbs / f"{name}.yml").write_text(text % {"rows": rows})
    data, saved = data_of(tmp_path), tmp_path / "saved"
    (name,) = data.names()
    with pytest.raises(Refused, match=r"shop: save.yml: .*Dump the rows of shop"):
        data.save(name, "", saved, deadline)
    rows.write_text("first")
    data.save(name, "", saved, deadline)
    what = SavedData(part_of(saved).digest, saved.stat().st_size, lambda: [saved.read_bytes()])
    with pytest.raises(Refused, match="there are rows already"):
        data.restore(name, "", what, deadline, Restoring(overwrite=False, begun=False, begins=lambda: None))
    rows.write_text("second")
    data.restore(name, "", what, deadline, Restoring(overwrite=True, begun=False, begins=lambda: None))
    assert rows.read_text() == "first"
    assert not list((tmp_path / "scratch").iterdir())
