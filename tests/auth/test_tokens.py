"""What a token must be: each row is one thing that an honest EHR does, or that none does."""

import hmac
import json
import threading

import pytest

from cds_service.web.problems import UNAUTHORISED_BODY
from tests.auth.tokens import BASE, CALL, EC, EC256, HEAD, ISSUER, JKU, OTHER, RSA, S, claims, fold, sign, token

ch, sec = pytest.mark.ch, pytest.mark.sec


def row(what, reason, *marks, **changes):
    return pytest.param(lambda: token(**changes), reason, id=what, marks=marks)


def made(what, reason, make, *marks):
    return pytest.param(make, reason, id=what, marks=marks)


def hmac_with(secret):
    signed = fold(HEAD | {"alg": "HS384"}) + b"." + fold(claims())
    return (signed + b"." + fold(hmac.digest(secret, signed, "sha384"))).decode()


def unsigned():
    return (fold(HEAD | {"alg": "none"}) + b"." + fold(claims()) + b".").decode()


def of_two_types():
    return (fold(HEAD | {"alg": "RS384"}) + b"." + fold(claims())).decode() + "." + token().rpartition(".")[2]


def with_text(head=None, payload=None):
    """A token whose head or claims are this very text."""
    return sign((payload or json.dumps(claims())).encode(), (head or json.dumps(HEAD)).encode())


def head_with(**members):
    return {"head": members}


ACCEPTED = [
    row("ES384", None, ch("CH-315", "CH-321")),
    row("RS384", None, ch("CH-315"), **head_with(alg="RS384")),
    row("typ in lower case", None, ch("CH-317"), sec("SEC-005"), **head_with(typ="jwt")),
    row("jku that was agreed", None, ch("CH-318", "CH-320"), sec("SEC-008"), **head_with(jku=JKU)),
    row("a kid's own extra members", None, **head_with(x5t="abc", cty="JWT")),
    row("aud among others", None, ch("CH-322"), sec("SEC-009"), aud=["https://x.example", BASE + CALL]),
    row("aud with one slash at its end", None, ch("W-10"), aud=BASE + CALL + "/"),
    row("iat half a second ahead", None, ch("CH-324", "W-06"), iat=S + 0.5, exp=S + 300),
    row("iat at the edge of the leeway", None, ch("CH-324"), sec("SEC-010"), iat=S + 60, exp=S + 300),
    row("exp within the leeway", None, ch("W-06"), sec("SEC-010"), iat=S - 300, exp=S - 59),
    row("exactly as long as agreed", None, sec("SEC-010"), iat=S, exp=S + 300),
    row("nbf at the edge of the leeway", None, ch("CH-327", "W-06"), nbf=S + 60),
    row("other claims", None, ch("CH-327"), sub="client-1", extra={"a": [1]}),
    row("jti of one character", None, sec("SEC-011"), jti="\u3042"),
    row("jti of 256 characters", None, sec("SEC-011"), jti="j" * 256),
]  # fmt: skip

REFUSED = [
    made("none", "alg", unsigned, ch("CH-313"), sec("SEC-003")),
    made("none with a signature", "alg", lambda: sign(claims(), json.dumps(HEAD | {"alg": "none"}).encode()), ch("CH-313"), sec("SEC-003")),
    made("HS384 with the key as PEM", "alg", lambda: hmac_with(EC.as_pem(private=False)), ch("CH-314"), sec("SEC-003")),
    made("HS384 with the key as JWK", "alg", lambda: hmac_with(json.dumps(EC.as_dict(private=False)).encode()), ch("CH-314"), sec("SEC-003")),
    made("alg missing", "alg", lambda: with_text(head='{"typ":"JWT","kid":"k1"}'), ch("CH-313"), sec("SEC-003")),
    row("RS256 without agreement", "alg", ch("CH-315"), sec("SEC-003"), **head_with(alg="RS256")),
    made("ES256 without agreement, with its key", "alg", lambda: token(head={"alg": "ES256", "kid": "p256"}, key=EC256), sec("SEC-003")),
    made("ES384 over a P-256 key", "unknown_key", lambda: token(head={"kid": "p256"}), sec("SEC-003", "SEC-004")),
    made("RS384 in the head, signed by an EC key", "signature",
         of_two_types, sec("SEC-003")),
    row("typ missing", "typ", ch("CH-317"), sec("SEC-005"), **head_with(typ=...)),
    row("typ at+jwt", "typ", ch("CH-317"), sec("SEC-005"), **head_with(typ="at+jwt")),
    row("typ a number", "typ", sec("SEC-005"), **head_with(typ=1)),
    row("kid missing", "kid", ch("CH-316"), sec("SEC-005"), **head_with(kid=...)),
    row("kid empty", "kid", sec("SEC-005"), **head_with(kid="")),
    row("kid too long", "kid", sec("SEC-005"), **head_with(kid="k" * 257)),
    row("kid a number", "kid", sec("SEC-005"), **head_with(kid=1)),
    row("kid unknown", "unknown_key", ch("CH-316"), **head_with(kid="k2")),
    *(row(f"{name} in the head", "head", sec("SEC-005"), **head_with(**{name: value}))
      for name, value in (("crit", ["exp"]), ("jwk", EC.as_dict(private=False)), ("x5u", JKU), ("x5c", ["MII"]), ("b64", False))),
    made("iss twice", "malformed", lambda: with_text(payload=json.dumps(claims())[:-1] + f', "iss": "{ISSUER}"}}'), sec("SEC-006")),
    made("alg twice", "malformed", lambda: with_text(head='{"typ":"JWT","alg":"none","alg":"ES384","kid":"k1"}'), sec("SEC-006")),
    made("a key twice deep inside", "malformed", lambda: with_text(payload=json.dumps(claims())[:-1] + ', "x": [{"a": 1, "a": 2}]}'), sec("SEC-006")),
    row("iss unknown", "iss", ch("CH-320"), sec("SEC-007"), iss="https://unknown.example.net"),
    row("iss in other case", "iss", sec("SEC-007"), iss=ISSUER.upper()),
    row("iss with a slash", "iss", sec("SEC-007"), iss=ISSUER + "/"),
    row("iss missing", "iss", ch("CH-321"), sec("SEC-007"), iss=...),
    row("iss a list", "iss", sec("SEC-007"), iss=[ISSUER]),
    row("jku foreign", "jku", ch("CH-320"), sec("SEC-008"), **head_with(jku="https://evil.example/jwks.json")),
    row("jku with a query", "jku", sec("SEC-008"), **head_with(jku=JKU + "?")),
    row("jku no text", "jku", sec("SEC-008"), **head_with(jku=[JKU])),
    row("aud of another service", "aud", ch("CH-322"), sec("SEC-009"), aud=BASE + "/cds-services/other"),
    row("aud of discovery", "aud", ch("CH-035", "CH-322"), sec("SEC-009"), aud=BASE + "/cds-services"),
    row("aud of the feedback", "aud", ch("W-10"), sec("SEC-009"), aud=BASE + CALL + "/feedback"),
    row("aud longer", "aud", sec("SEC-009"), aud=BASE + CALL + ".evil"),
    row("aud with two slashes", "aud", ch("W-10"), sec("SEC-009"), aud=BASE + CALL + "//"),
    row("aud of another host", "aud", ch("CH-322"), sec("SEC-009"), aud="https://evil.example" + CALL),
    row("aud over http", "aud", sec("SEC-009"), aud="http://cds.example.org" + CALL),
    row("aud missing", "aud", ch("CH-322"), sec("SEC-009"), aud=...),
    row("aud an empty list", "aud", sec("SEC-009"), aud=[]),
    row("aud a list with a number", "aud", sec("SEC-009"), aud=[BASE + CALL, 1]),
    row("exp a second past the leeway", "exp", ch("CH-323", "W-06"), sec("SEC-010"), iat=S - 300, exp=S - 60),
    row("exp missing", "exp", ch("CH-323"), sec("SEC-010"), exp=...),
    row("exp a text", "exp", ch("CH-323"), sec("SEC-010"), exp=str(S + 300)),
    row("exp true", "exp", sec("SEC-010"), exp=True),
    row("exp beyond all numbers", "exp", sec("SEC-010"), exp=10**400),
    made("exp NaN", "malformed", lambda: with_text(payload=json.dumps(claims(exp=float("nan")))), sec("SEC-010")),
    made("exp infinite", "exp", lambda: with_text(payload=json.dumps(claims()).replace(str(S + 300), "1e999")), sec("SEC-010")),
    row("in ten years", "life", sec("SEC-010"), exp=S + 10 * 365 * 86400),
    row("a second longer than agreed", "life", sec("SEC-010"), iat=S - 1, exp=S + 300),
    row("exp before iat", "life", sec("SEC-010"), iat=S + 10, exp=S + 5),
    row("iat missing", "iat", ch("CH-324"), sec("SEC-010"), iat=...),
    row("iat a text", "iat", sec("SEC-010"), iat=str(S)),
    row("iat a second past the leeway", "iat", ch("CH-324", "W-06"), sec("SEC-010"), iat=S + 61, exp=S + 300),
    row("nbf a second past the leeway", "nbf", ch("CH-327"), sec("SEC-010"), nbf=S + 61),
    row("nbf a text", "nbf", ch("CH-327"), sec("SEC-010"), nbf="now"),
    row("jti missing", "jti", ch("CH-325"), sec("SEC-011"), jti=...),
    row("jti empty", "jti", sec("SEC-011"), jti=""),
    row("jti too long", "jti", sec("SEC-011"), jti="j" * 257),
    row("jti with a control character", "jti", sec("SEC-011"), jti="a\nb"),
    row("jti a number", "jti", sec("SEC-011"), jti=7),
    made("signed by another key of this kid", "signature", lambda: token(key=OTHER), ch("CH-316")),
    made("claims changed after signing", "signature",
         lambda: ".".join((token().split(".")[0], fold(claims()).decode(), token().split(".")[2])), ch("CH-328")),
    made("signature of zeros", "signature", lambda: token().rpartition(".")[0] + "." + fold(bytes(96)).decode(), sec("SEC-003")),
    made("signature cut", "signature", lambda: token()[:-8], sec("SEC-003")),
    made("signature missing", "malformed", lambda: token().rpartition(".")[0] + ".", ch("CH-313")),
    made("two parts", "malformed", lambda: token().rpartition(".")[0]),
    made("four parts", "malformed", lambda: token() + ".x"),
    made("padding", "malformed", lambda: token() + "=="),
    made("head no object", "malformed", lambda: with_text(head="[]")),
    made("claims no object", "malformed", lambda: with_text(payload="[]")),
    made("nested without end", "malformed", lambda: with_text(payload="[" * 3000)),
    row("longer than 8 KiB", "too_long", sec("SEC-002"), padding="x" * 8192),
]  # fmt: skip


@pytest.mark.parametrize(("make", "reason"), ACCEPTED)
def test_accepted(make, reason, ehr):
    assert ehr.call(make()).status_code == 200


@pytest.mark.fault("F37")
@pytest.mark.ch("CH-330")
@pytest.mark.sec("SEC-017")
@pytest.mark.parametrize(("make", "reason"), REFUSED)
def test_refused(make, reason, ehr):
    before = ehr.refused(reason)
    answer = ehr.call(make())
    assert (answer.status_code, answer.content) == (401, UNAUTHORISED_BODY)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert ehr.refused(reason) == before + 1


def bearer(text):
    return lambda: [("Authorization", text.replace("TOKEN", token()))]


@pytest.mark.ch("CH-312")
@pytest.mark.sec("SEC-002")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param(bearer("Bearer TOKEN"), 200, id="one"),
        pytest.param(bearer("bEARER TOKEN"), 200, id="the scheme's case does not count"),
        pytest.param(list, 401, id="none"),
        pytest.param(lambda: bearer("Bearer TOKEN")() + bearer("Bearer TOKEN")(), 401, id="two"),
        pytest.param(lambda: [*bearer("Bearer TOKEN")(), ("authorization", "Basic YTpi")], 401, id="two schemes"),
        pytest.param(bearer("Basic TOKEN"), 401, id="Basic"),
        pytest.param(bearer("TOKEN"), 401, id="no scheme"),
        pytest.param(bearer("Bearer "), 401, id="empty"),
        pytest.param(bearer("Bearer"), 401, id="scheme alone"),
        pytest.param(bearer("Bearer  TOKEN"), 401, id="two spaces"),
        pytest.param(bearer("Bearer TOKEN, Bearer TOKEN"), 401, id="two in one"),
        pytest.param(lambda: [("X-Authorization", f"Bearer {token()}")], 401, id="another field"),
        pytest.param(lambda: [("Cookie", f"access_token={token()}")], 401, id="a cookie"),
    ],
)
def test_the_header(headers, status, ehr):
    assert ehr.call(headers=headers()).status_code == status


@pytest.mark.sec("SEC-002")
def test_never_from_query_or_body(ehr):
    one = token()
    assert ehr.send("POST", f"{CALL}?access_token={one}", json={"access_token": one}).status_code == 401


@pytest.mark.sec("SEC-009")
@pytest.mark.parametrize("field", ["Host", "X-Forwarded-Host", "Forwarded", "X-Forwarded-Proto"])
def test_the_audience_never_comes_from_the_request(field, ehr):
    value = {"Forwarded": "host=evil.example;proto=https", "X-Forwarded-Proto": "http"}.get(field, "evil.example")
    answer = ehr.call(token(aud=f"https://evil.example{CALL}"), headers=[(field, value)])
    assert answer.status_code in {400, 401}  # 400: a Host that is not ours


@pytest.mark.ch("CH-328")
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        pytest.param({"iss": "x", "aud": "x", "exp": 1, "jti": ""}, "iss", id="issuer first"),
        pytest.param({"aud": "x", "exp": 1, "jti": ""}, "aud", id="then audience"),
        pytest.param({"exp": 1, "jti": ""}, "exp", id="then times"),
    ],
)
def test_the_order_of_the_checks(wrong, reason, ehr):
    before = ehr.refused(reason)
    ehr.call(token(key=OTHER, **wrong))
    assert ehr.refused(reason) == before + 1


@pytest.mark.sec("SEC-017")
def test_only_a_known_issuer_costs_a_signature(ehr, monkeypatch):
    verified = []
    from cds_service.api import ehr_auth

    real = ehr_auth.is_signed_by
    monkeypatch.setattr(ehr_auth, "is_signed_by", lambda *given: verified.append(given) or real(*given))
    ehr.call(token(iss="https://unknown.example.net"))
    ehr.call(token(aud="https://elsewhere.example"))
    ehr.call(token(iat=S - 1000, exp=S - 800))
    assert verified == []
    ehr.call(token(head={"alg": "RS384"}, key=RSA))
    assert len(verified) == 1


@pytest.mark.parametrize(("alg", "is_on_the_loop"), [("ES384", False), ("RS384", True)])
def test_slow_signatures_are_verified_off_the_event_loop(alg, is_on_the_loop, ehr, monkeypatch):
    from cds_service.api import ehr_auth

    threads = []
    real = ehr_auth.is_signed_by
    monkeypatch.setattr(
        ehr_auth, "is_signed_by", lambda *given: threads.append(threading.current_thread()) or real(*given)
    )
    assert ehr.call(token(head={"alg": alg})).status_code == 200
    assert [one is threading.main_thread() for one in threads] == [is_on_the_loop]
