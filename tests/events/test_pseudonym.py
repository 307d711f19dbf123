"""A patient becomes a pseudonym at the door, and stays one."""

import base64
import hashlib
import hmac
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.errors import SettingsError
from cds_service.events.pseudonym import create_key, load_key, load_or_create_key, pseudonymise, purpose_key

KEY = bytes(range(32))


@pytest.mark.sec("SEC-081")
def test_the_formula_is_the_one_of_the_standard():
    digest = hmac.new(KEY, b"hospital-a\x00Patient\x00pat-1", hashlib.sha256).digest()
    assert (
        pseudonymise("pat-1", tenant="hospital-a", key=KEY, key_id="v7")
        == "v7:" + base64.b32encode(digest[:16]).decode().strip("=").lower()
    )


@pytest.mark.sec("SEC-081")
@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        pytest.param({}, True, id="the same patient has the same name"),
        pytest.param({"tenant": "hospital-b"}, False, id="equal ids in two hospitals are two patients"),
        pytest.param({"patient_id": "pat-2"}, False, id="two patients have two names"),
        pytest.param({"key": b"k" * 32}, False, id="a new key starts new names"),
        pytest.param(
            {"tenant": "hospital-a\x00Patient", "patient_id": "pat-1"}, False, id="the parts do not run together"
        ),
    ],
)
def test_who_shares_a_name(other, is_same):
    one = {"patient_id": "pat-1", "tenant": "hospital-a", "key": KEY}
    assert (pseudonymise(**one) == pseudonymise(**one | other)) is is_same


@pytest.mark.sec("SEC-081")
@settings(deadline=None)  # the machine may be busy
@given(st.text())
def test_any_id_gives_a_name_of_one_shape_that_does_not_hold_it(patient_id):
    name = pseudonymise(patient_id, tenant="hospital-a", key=KEY)
    assert re.fullmatch("v1:[a-z2-7]{26}", name)
    assert len(patient_id) < 4 or patient_id not in name


@pytest.mark.sec("SEC-081")
def test_each_purpose_and_tenant_has_its_own_key():
    keys = {
        purpose_key(KEY, purpose=purpose, tenant=tenant)
        for purpose in ("pseudonym", "arm", "holdout")
        for tenant in ("hospital-a", "hospital-b")
    }
    assert len(keys | {KEY}) == 7
    assert {len(key) for key in keys} == {32}


@pytest.mark.sec("SEC-081")
def test_a_short_key_is_refused():
    with pytest.raises(ValueError, match="31 bytes"):
        pseudonymise("pat-1", tenant="hospital-a", key=b"k" * 31)


@pytest.mark.sec("SEC-110")
def test_a_key_file_is_made_once_and_only_its_owner_reads_it(tmp_path):
    path = tmp_path / "keys" / "pseudonym.key"
    key = load_or_create_key(path)
    assert (len(key), path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (32, 0o600, 0o700)
    assert load_or_create_key(path) == load_key(path) == key
    with pytest.raises(FileExistsError):
        create_key(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["pseudonym.key"]


def test_workers_that_start_together_agree_on_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_or_create_key(tmp_path / "pseudonym.key"), range(8)))
    assert len(keys) == 1


@pytest.mark.sec("SEC-110")
@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        pytest.param(KEY, 0o644, "mode 0644", id="others may read it"),
        pytest.param(KEY, 0o620, "mode 0620", id="the group may write it"),
        pytest.param(KEY[:31], 0o600, "31 bytes", id="it is too short"),
        pytest.param(None, 0o600, "can't be read", id="it is not there"),
    ],
)
def test_a_bad_key_file_is_named(tmp_path, content, mode, says):
    path = tmp_path / "pseudonym.key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(SettingsError, match=says) as caught:
        load_key(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_a_key_that_the_group_may_read_is_fine(tmp_path, mode):
    path = tmp_path / "pseudonym.key"
    path.write_bytes(KEY)
    path.chmod(mode)
    assert load_key(path) == KEY
