"""``cds-service backup`` and ``restore`` as an operator types them: from a chart open to a restored service."""

import json

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from cds_service.cli import main
from cds_service.events.audit_entry import decode_entry, read_lines
from cds_service.events.pseudonym import create_key
from cds_service.service_app import create_app
from tests.attacks.real import EXAMPLE, SERVICE, real_parts

PATIENT = EXAMPLE["context"]["patientId"]


@pytest.fixture
def write_settings(tmp_path):
    (tmp_path / "backups").mkdir()
    create_key(tmp_path / "backup.key")

    def write(state="state", **more):
        values = {"auth": "off-for-development", "state": str(tmp_path / state)}
        values |= {"backup_folder": str(tmp_path / "backups"), "backup_key_file": str(tmp_path / "backup.key")}
        values |= {"pseudonym_key_file": str(tmp_path / "state" / "pseudonym.key")} | more
        file = tmp_path / f"{state}.toml"
        file.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items() if value))
        return str(file)

    return write


def run(*command, given=None):
    return CliRunner().invoke(main, [str(word) for word in command], input=given, catch_exceptions=False)


def entries(state):
    lines = b"".join(path.read_bytes() for path in sorted((state / "audit").glob("*.jsonl")))
    return [decode_entry(line.entry) for line in read_lines(lines)]


@pytest.mark.sec("SEC-114", "SEC-091", "SEC-100")
@pytest.mark.fault("F81")
def test_from_a_chart_open_to_a_restored_service(tmp_path, write_settings):
    settings = write_settings()
    with TestClient(create_app(real_parts(tmp_path)), base_url="http://127.0.0.1") as client:
        assert client.post(SERVICE, json=EXAMPLE).json()["cards"]
        assert run("keys", "drop", "https://ehr.example", "k1", "--settings", settings).exit_code == 0
        done = run("backup", "--settings", settings)
        assert done.exit_code == 0, done.output
        assert "1 events up to 1, 3 audit entries. 0 older went." in done.output
        forgotten = run(
            "patient", "forget", "--tenant", "development", "--id-stdin", "--settings", settings, given=PATIENT
        )
        assert forgotten.output.startswith("Blank now: 1 answers")
    (path,) = (tmp_path / "backups").glob("*.cds")
    done = run("restore", path, "--settings", write_settings("other"))
    assert done.exit_code == 0, done.output
    assert done.output.startswith(
        "Restored: 1 events up to 1, 3 audit entries.\nForgotten since: 1 answers, 0 feedback items are blank now.\n"
    )
    assert (tmp_path / "other" / "denied_keys.json").exists()
    assert [(one.did, one.result) for one in entries(tmp_path / "state")][2:4] == [
        ("backup_made", "begun"),
        ("backup_made", "done"),
    ]
    restored = entries(tmp_path / "other")
    assert [(one.did, one.result) for one in restored][-1] == ("restored", "done")
    assert restored[-1].on == path.name
    assert run("audit", "verify", "--settings", str(tmp_path / "other.toml")).exit_code == 0


@pytest.mark.sec("SEC-114", "SEC-110")
@pytest.mark.parametrize(
    ("more", "says"),
    [
        pytest.param({"backup_folder": ""}, "backup_folder: there is none", id="no folder"),
        pytest.param({"backup_key_file": ""}, "backup_key_file: there is none", id="no key"),
    ],
)
def test_a_backup_that_nobody_set_up_is_refused(tmp_path, write_settings, more, says):
    (tmp_path / "state").mkdir()
    done = run("backup", "--settings", write_settings(**more))
    assert done.exit_code == 2
    assert done.output.startswith(says)


@pytest.mark.sec("SEC-110")
def test_a_key_that_others_may_read_is_refused(tmp_path, write_settings):
    (tmp_path / "state").mkdir()
    (tmp_path / "backup.key").chmod(0o644)
    done = run("backup", "--settings", write_settings())
    assert done.exit_code == 2
    assert "the backup key has mode 0644" in done.output


@pytest.mark.sec("SEC-100", "SEC-114")
@pytest.mark.fault("F80", "F81")
def test_a_restore_that_is_refused_leaves_an_entry_and_no_store(tmp_path, write_settings):
    settings = write_settings()
    parts = real_parts(tmp_path)
    parts.store.close()
    assert run("backup", "--settings", settings).exit_code == 0
    (path,) = (tmp_path / "backups").glob("*.cds")
    (tmp_path / "backups" / "forgotten.txt").unlink()
    (tmp_path / "state" / "events").rename(tmp_path / "lost")
    done = run("restore", path, "--settings", settings)
    assert done.exit_code == 2
    assert "forgotten.txt: the list can't be read" in done.output, "without the list somebody might come back"
    assert [(one.did, one.result) for one in entries(tmp_path / "state")][-2:] == [
        ("restored", "begun"),
        ("restored", "refused"),
    ]
    assert not (tmp_path / "state" / "events").exists()
    (tmp_path / "empty.txt").write_text("")
    done = run("restore", path, "--settings", settings, "--forgotten", tmp_path / "empty.txt")
    assert done.exit_code == 0
    assert "audit was there already and is kept." in done.output
