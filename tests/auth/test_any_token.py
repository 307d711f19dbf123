"""Whatever is sent as a token: it is read or refused, never a failure of ours, and no changed token is believed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.api.jwt_reading import (
    REASONS,
    TokenRefused,
    check_jti,
    check_times,
    has_audience,
    read_bearer,
    read_token,
)
from cds_service.outbound.key_set import KeySetFault, is_signed_by, read_key_set
from tests.auth.tokens import BASE, CALL, EC, RSA, S, claims, fold, public, sign

KEY = read_key_set(json.dumps(public(EC)).encode()).find("k1", "EC")
ONE = sign(claims())
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def reason_of(judge, *given_):
    try:
        judge(*given_)
    except TokenRefused as refusal:
        return REASONS[refusal.reason]
    return None


@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"x"]), st.binary(max_size=60)), max_size=4))
def test_any_header(headers):
    reason_of(read_bearer, headers)


@pytest.mark.sec("SEC-002", "SEC-006")
@given(st.binary(max_size=200) | st.text('eyJ.={}"', max_size=60).map(str.encode))
def test_any_bytes(text):
    assert reason_of(read_token, text) is not None


@pytest.mark.sec("SEC-005")
@given(st.dictionaries(st.sampled_from(["typ", "alg", "kid", "jku", "crit", "jwk"]), VALUES))
def test_any_head(head):
    """Only a head with the three right members, and none of those that change what is verified, is read."""
    reason = reason_of(read_token, fold(head) + b"." + fold({}) + b".AAAA")
    if reason is None:
        assert str(head["typ"]).upper() == "JWT"
        assert {"alg", "kid"} <= head.keys()
        assert not {"crit", "jwk"} & head.keys()


@pytest.mark.sec("SEC-010", "SEC-011")
@given(st.dictionaries(st.sampled_from(["exp", "iat", "nbf", "jti", "aud"]), VALUES))
def test_any_claims(given_):
    if reason_of(check_times, given_, float(S), 300) is None:
        assert S - 60 < given_["exp"] <= S + 60 + 300
        assert all(given_[name].__class__ in (int, float) for name in ("exp", "iat"))
    if reason_of(check_jti, given_) is None:
        assert 1 <= len(given_["jti"]) <= 256
    assert has_audience(given_, frozenset({BASE + CALL}), strict=False) is None


@pytest.mark.sec("SEC-003")
@given(st.integers(0, len(ONE) - 1), st.sampled_from(LETTERS))
def test_no_changed_token_is_believed(place, letter):
    changed = ONE[:place] + letter + ONE[place + 1 :]
    if changed == ONE or ONE[place] == ".":
        return
    try:
        token = read_token(changed.encode())
    except TokenRefused:
        return
    assert not is_signed_by(KEY, "ES384", token.signed, token.signature)


@pytest.mark.sec("SEC-004", "SEC-014")
@given(st.dictionaries(st.sampled_from([*RSA.as_dict(private=False), *EC.as_dict(private=False), "d", "use"]), VALUES))
def test_any_key(entry):
    try:
        keys = read_key_set(json.dumps({"keys": [entry]}).encode())
    except KeySetFault:
        return
    assert keys.keys


@given(st.binary(max_size=200))
def test_any_key_set(body):
    with pytest.raises(KeySetFault):
        read_key_set(body)
