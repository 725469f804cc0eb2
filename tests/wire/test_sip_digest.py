"""Digest: the standards' own examples, the choice, the count, and when to give up."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_django.exceptions import CTIError, DigestError
from cti_django.wire.sip_digest import (
    Challenge,
    DigestClient,
    choose,
    make_challenge,
    parse_challenge,
    parse_credentials,
    verify,
)
from cti_django.wire.sip_message import Headers, SIPRequest, SIPResponse

_URI = "sip:482910@sip.example"


def client(**kwargs):
    return DigestClient("482910", "s3cret", random=lambda size: b"\x01" * size, **kwargs)


def request(*authorizations, name="Authorization"):
    return SIPRequest("SUBSCRIBE", _URI, Headers((name, value) for value in authorizations))


def refusal(*challenges, status=401, name="WWW-Authenticate"):
    return SIPResponse(status, "", Headers((name, value) for value in challenges))


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_first_example_of_rfc_7616(algorithm, response):
    challenge = parse_challenge(
        'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=' + algorithm + ", "
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )
    answer = DigestClient("Mufasa", "Circle of Life").authorization(
        challenge, "GET", "/dir/index.html", cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    )
    assert answer == (
        'Digest username="Mufasa", realm="http-auth@example.org", '
        'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", uri="/dir/index.html", '
        f'response="{response}", algorithm={algorithm}, qop=auth, nc=00000001, '
        'cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
    )


@pytest.mark.skipif("sha512_256" not in hashlib.algorithms_available, reason="this OpenSSL has no SHA-512/256")
def test_the_second_example_of_rfc_7616_as_erratum_4897_corrects_it():
    challenge = Challenge(
        realm="api@example.org",
        nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
        algorithm="SHA-512-256",
        qop=("auth",),
    )
    answer = DigestClient("Jäsøn Doe", "Secret, or not?").authorization(
        challenge, "GET", "/doe.json", cnonce="NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v"
    )
    assert parse_credentials(answer).response == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"


def test_the_example_of_rfc_2617():
    challenge = parse_challenge(
        'Digest realm="testrealm@host.com", qop="auth,auth-int", '
        'nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    answer = DigestClient("Mufasa", "Circle Of Life").authorization(
        challenge, "GET", "/dir/index.html", cnonce="0a4f113b"
    )
    assert parse_credentials(answer).response == "6629fae49393a05397450978507c4ef1"


def test_without_qop_the_old_form_is_answered():
    challenge = parse_challenge('Digest realm="r", nonce="n"')
    answer = parse_credentials(client().authorization(challenge, "SUBSCRIBE", _URI))
    ha1 = hashlib.md5(b"482910:r:s3cret").hexdigest()
    ha2 = hashlib.md5(f"SUBSCRIBE:{_URI}".encode()).hexdigest()
    assert answer.response == hashlib.md5(f"{ha1}:n:{ha2}".encode()).hexdigest()
    assert (answer.qop, answer.nc, answer.cnonce, answer.opaque) == ("", "", "", None)


def test_auth_int_covers_the_body():
    challenge = parse_challenge('Digest realm="r", nonce="n", qop="auth-int"')
    value = client().authorization(challenge, "PUBLISH", _URI, b"body", cnonce="c")
    ha1 = hashlib.md5(b"482910:r:s3cret").hexdigest()
    ha2 = hashlib.md5(f"PUBLISH:{_URI}:{hashlib.md5(b'body').hexdigest()}".encode()).hexdigest()
    assert parse_credentials(value).response == hashlib.md5(f"{ha1}:n:00000001:c:auth-int:{ha2}".encode()).hexdigest()
    assert verify(value, "PUBLISH", "s3cret", "n", realm="r", body=b"body")
    assert not verify(value, "PUBLISH", "s3cret", "n", realm="r", body=b"BODY")


def test_a_session_algorithm_mixes_the_nonces_into_the_secret():
    challenge = parse_challenge('Digest realm="r", nonce="n", qop="auth", algorithm=MD5-sess')
    value = client().authorization(challenge, "BYE", _URI, cnonce="c")
    ha1 = hashlib.md5(hashlib.md5(b"482910:r:s3cret").hexdigest().encode() + b":n:c").hexdigest()
    ha2 = hashlib.md5(f"BYE:{_URI}".encode()).hexdigest()
    assert parse_credentials(value).response == hashlib.md5(f"{ha1}:n:00000001:c:auth:{ha2}".encode()).hexdigest()
    assert "algorithm=MD5-sess" in value


def test_a_challenge_is_read_whatever_its_spelling():
    challenge = parse_challenge(
        ' dIGEST\tREALM = "a, \\"b\\"=c" ,nonce="n" , Qop = "AUTH,auth-int" ,stale=TRUE,'
        'algorithm="sha-256",opaque="",domain="sip:a sip:b",charset=UTF-8, userhash=false,'
    )
    assert challenge == Challenge(
        realm='a, \\"b\\"=c',
        nonce="n",
        opaque="",
        algorithm="sha-256",
        qop=("auth", "auth-int"),
        stale=True,
        domain=("sip:a", "sip:b"),
    )
    assert 'realm="a, \\"b\\"=c"' in client().authorization(challenge, "BYE", _URI)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Digest",
        "Digest ",
        'Basic realm="x"',
        'Digestrealm="r", nonce="n"',
        'Digest realm="r"',
        'Digest nonce="n"',
        'Digest realm="r", nonce=""',
        'Digest realm="r", nonce="n", nonce="m"',
        'Digest realm="r", nonce="n", NONCE="m"',
        'Digest realm="r", nonce="n',
        'Digest realm="r" nonce="n"',
        'Digest realm="r", nonce="n", Digest realm="s", nonce="m"',
        'Digest realm="r\r\nEvil: 1", nonce="n"',
        'Digest realm="r", nonce="n", =x',
        'Digest realm="r", nonce="n\\',
    ],
)
def test_what_is_no_challenge_is_refused(value):
    with pytest.raises(DigestError):
        parse_challenge(value)


def test_a_hostile_challenge_costs_no_more_than_its_length():
    for piece in ('\\",a="', 'a="",', '"', "\\", 'a="\\', "a=", ",", " ", '\\"'):
        with pytest.raises(DigestError):
            parse_challenge('Digest a="' + piece * 20_000 + "!")


def test_the_strongest_challenge_wins_wherever_it_stands():
    offers = [Challenge(realm="r", nonce=name, algorithm=name) for name in ("MD5", "SHA-1", "SHA-512", "SHA-256")]
    assert choose(offers).algorithm == "SHA-256"
    assert choose(offers[:3]).algorithm == "MD5"
    first, second = Challenge(realm="r", nonce="1"), Challenge(realm="r", nonce="2")
    assert choose([first, second]) is first


@pytest.mark.parametrize(
    "challenge",
    [
        Challenge(realm="r", nonce="n", algorithm="SHA-1"),
        Challenge(realm="r", nonce="n", algorithm="AKAv1-MD5"),
        Challenge(realm="r", nonce="n", qop=("auth-conf",)),
        Challenge(realm="r", nonce="n", algorithm="MD5-sess"),
    ],
)
def test_what_cannot_be_answered_is_said_so(challenge):
    with pytest.raises(DigestError):
        choose([challenge])
    with pytest.raises(DigestError):
        client().authorization(challenge, "BYE", _URI)


def test_each_use_of_a_nonce_is_counted():
    one, two = (Challenge(realm="r", nonce=nonce, qop=("auth",)) for nonce in ("1", "2"))
    digest = client()
    counts = [parse_credentials(digest.authorization(c, "BYE", _URI)).nc for c in (one, one, two, one)]
    assert counts == ["00000001", "00000002", "00000001", "00000003"]


def test_a_server_that_sends_ever_new_nonces_fills_no_memory():
    digest = client()
    for number in range(1000):
        digest.authorization(Challenge(realm="r", nonce=str(number)), "BYE", _URI)
    assert len(digest._uses) <= 64


def test_the_client_nonce_is_fresh_unless_it_is_given():
    challenge = Challenge(realm="r", nonce="n", qop=("auth",))
    digest = DigestClient("u", "p")
    values = {parse_credentials(digest.authorization(challenge, "BYE", _URI)).cnonce for _ in range(10)}
    assert len(values) == 10
    assert parse_credentials(client().authorization(challenge, "BYE", _URI)).cnonce == "01" * 16


def test_a_401_is_answered_with_the_strongest_of_its_challenges():
    response = refusal(
        make_challenge("r", "n1"), 'Basic realm="r"', "rubbish", make_challenge("r", "n2", algorithm="SHA-256")
    )
    [(name, value)] = client().answer(request(), response)
    assert name == "Authorization"
    assert verify(value, "SUBSCRIBE", "s3cret", "n2", realm="r", algorithm="SHA-256", uri=_URI)


def test_each_realm_and_each_proxy_gets_its_own_answer():
    response = refusal(make_challenge("a", "1"), make_challenge("b", "2"))
    response.headers.add("Proxy-Authenticate", make_challenge("a", "3"))
    answers = client().answer(request(), response)
    assert [(name, parse_credentials(value).realm, parse_credentials(value).nonce) for name, value in answers] == [
        ("Authorization", "a", "1"),
        ("Authorization", "b", "2"),
        ("Proxy-Authorization", "a", "3"),
    ]


def test_a_realm_that_cannot_be_answered_does_not_keep_us_from_the_others():
    response = refusal(make_challenge("a", "1", algorithm="SHA-1"), make_challenge("b", "2"))
    [(_, value)] = client().answer(request(), response)
    assert parse_credentials(value).realm == "b"


@pytest.mark.parametrize("challenges", [(), ('Basic realm="r"',), ("rubbish",), ('Digest realm="r"',)])
def test_a_401_without_a_challenge_for_us_is_an_error(challenges):
    with pytest.raises(DigestError):
        client().answer(request(), refusal(*challenges))


@pytest.mark.parametrize("second", ["n", "m"])
def test_an_answer_that_is_challenged_again_is_refused(second):
    digest = client()
    [(_, value)] = digest.answer(request(), refusal(make_challenge("r", "n")))
    with pytest.raises(DigestError) as caught:
        digest.answer(request(value), refusal(make_challenge("r", second)))
    assert caught.value.code == "refused"
    assert isinstance(caught.value, CTIError)


def test_a_stale_nonce_is_answered_with_the_new_one():
    digest = client()
    [(_, value)] = digest.answer(request(), refusal(make_challenge("r", "n")))
    [(_, value)] = digest.answer(request(value), refusal(make_challenge("r", "m", stale=True)))
    assert verify(value, "SUBSCRIBE", "s3cret", "m", realm="r")


def test_a_server_that_calls_every_nonce_stale_is_given_up():
    digest = client()
    [(_, value)] = digest.answer(request(), refusal(make_challenge("r", "0")))
    for number in (1, 2, 3):
        [(_, value)] = digest.answer(request(value), refusal(make_challenge("r", str(number), stale=True)))
    with pytest.raises(DigestError) as caught:
        digest.answer(request(value), refusal(make_challenge("r", "4", stale=True)))
    assert caught.value.code == "refused"


def test_a_nonce_that_worked_for_a_while_may_expire_without_being_called_stale():
    digest = client()
    challenge = parse_challenge(make_challenge("r", "n"))
    for _ in range(5):
        value = digest.authorization(challenge, "SUBSCRIBE", _URI)
    [(_, value)] = digest.answer(request(value), refusal(make_challenge("r", "m")))
    assert verify(value, "SUBSCRIBE", "s3cret", "m", realm="r")
    with pytest.raises(DigestError):
        digest.answer(request(value), refusal(make_challenge("r", "m")))


def test_the_challenge_of_another_realm_is_no_refusal():
    digest = client()
    [(_, value)] = digest.answer(request(), refusal(make_challenge("a", "n")))
    [(_, value)] = digest.answer(request(value), refusal(make_challenge("b", "n")))
    assert parse_credentials(value).realm == "b"


@pytest.mark.parametrize(
    "change",
    [
        {"method": "INVITE"},
        {"password": "S3cret"},
        {"nonce": "m"},
        {"realm": "s"},
        {"uri": "sip:other@x"},
        {"algorithm": "SHA-256"},
    ],
)
def test_a_proof_holds_for_nothing_else(change):
    value = client().authorization(parse_challenge(make_challenge("r", "n")), "SUBSCRIBE", _URI)
    good = {"method": "SUBSCRIBE", "password": "s3cret", "nonce": "n", "realm": "r", "uri": _URI, "algorithm": "MD5"}
    assert verify(value, **good)
    assert verify(value.replace("algorithm=MD5", "algorithm=md5"), **good)
    assert not verify(value, **(good | change))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic eDp5",
        'Digest username="482910"',
        'Digest username="482910", realm="r", nonce="n", uri="x", response=""',
        'Digest username="482910", realm="r", nonce="n", uri="x", response="é"',
        'Digest username="482910", realm="r", nonce="n", uri="x", response="0", qop=auth',
        'Digest username="482910", realm="r", nonce="n", uri="x", response="0", qop=auth, nc=1, cnonce="c"',
        'Digest username="482910", realm="r", nonce="n", uri="x", response="0", algorithm=none',
        'Digest username="482910", realm="r", nonce="n", uri="x", response="0", qop=x, nc=00000001, cnonce="c"',
    ],
)
def test_malformed_credentials_are_wrong_and_nothing_worse(value):
    assert verify(value, "SUBSCRIBE", "s3cret", "n", realm="r") is False


def test_an_unknown_qop_proves_nothing_even_if_it_adds_up():
    challenge = Challenge(realm="r", nonce="n", qop=("auth",))
    value = client().authorization(challenge, "BYE", _URI, cnonce="c")
    ha1 = hashlib.md5(b"482910:r:s3cret").hexdigest()
    ha2 = hashlib.md5(f"BYE:{_URI}".encode()).hexdigest()
    forged = hashlib.md5(f"{ha1}:n:00000001:c:none:{ha2}".encode()).hexdigest()
    value = value.replace("qop=auth", "qop=none").replace(parse_credentials(value).response, forged)
    assert not verify(value, "BYE", "s3cret", "n", realm="r")


def test_a_challenge_that_is_made_can_be_read():
    value = make_challenge('r "1"', "n", algorithm="SHA-256", qop=("auth", "auth-int"), opaque="o", stale=True)
    assert parse_challenge(value) == Challenge(
        realm='r \\"1\\"', nonce="n", opaque="o", algorithm="SHA-256", qop=("auth", "auth-int"), stale=True
    )
    assert parse_challenge(make_challenge("r", "n", qop=())) == Challenge(realm="r", nonce="n")


def test_a_uri_that_cannot_be_quoted_is_refused():
    with pytest.raises(DigestError):
        client().authorization(Challenge(realm="r", nonce="n"), "BYE", 'sip:a@x", evil="1')


def test_the_repr_has_no_password_and_no_proof():
    digest = client()
    credentials = parse_credentials(digest.authorization(Challenge(realm="r", nonce="n"), "BYE", _URI))
    assert "s3cret" not in repr(digest)
    assert credentials.response not in repr(credentials)


_NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@given(_NAMES, st.text(), _NAMES, st.sampled_from(["MD5", "SHA-256", "MD5-sess", "SHA-256-sess"]), st.binary())
def test_whoever_knows_the_password_gets_in(username, password, realm, algorithm, body):
    challenge = parse_challenge(make_challenge(realm, "n", algorithm=algorithm, qop=("auth-int",)))
    value = DigestClient(username, password).authorization(challenge, "BYE", _URI, body)
    assert parse_credentials(value).username == username
    expected = {"realm": challenge.realm, "algorithm": algorithm, "uri": _URI, "body": body}
    assert verify(value, "BYE", password, "n", **expected)
    assert not verify(value, "BYE", password + "x", "n", **expected)


@given(st.text())
def test_any_text_is_a_challenge_or_a_refusal(text):
    for value in (text, "Digest " + text, 'Digest realm="r", nonce="n", ' + text):
        try:
            parse_challenge(value)
        except DigestError:
            continue
