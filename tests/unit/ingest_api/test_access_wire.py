"""The gate as a client meets it on the wire: bytes in and out, through the server's own parser."""

from __future__ import annotations

import json

import pytest

from tests.unit.ingest_api.keyed import keyed
from tests.unit.ingest_api.stand import TOTALS
from tests.unit.ingest_api.wire import Wire

BODY = json.dumps(TOTALS).encode()
KEY = "authorization: Bearer ebb_shop\r\n"


def asked(
    target: str, *, method: str = "POST", more: str | bytes = "", body: bytes = BODY
) -> bytes:
    """A request as bytes; more: further header lines, each with its end."""
    lines = more if isinstance(more, bytes) else more.encode()
    head = f"{method} {target} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
    return b"%b%bcontent-length: %d\r\n\r\n%b" % (head.encode(), lines, len(body), body)


@pytest.mark.parametrize(
    ("target", "more", "status"),
    [
        ("/predict", KEY, 200),
        ("/predict", "AUTHORIZATION:   bearer   ebb_shop  \r\n", 200),
        ("/predict", "", 401),
        ("/predict", "authorization: Bearer ebb_crm\r\n", 403),
        ("/predict", KEY + KEY, 401),
        ("/predict", KEY + "Authorization: Bearer x\r\n", 401),
        ("/predict", "authorization: Bearer x\r\n" + KEY, 401),
        ("/predict", b"authorization: Bearer \xff\xfe\r\n", 401),
        ("/predict", "authorization: Basic ebb_shop\r\n", 401),
        ("/predict", "x-api-key: ebb_shop\r\n", 401),
        ("/predict", "x-original-url: /livez\r\n", 401),
        ("/predict?key=ebb_shop", "", 401),
        ("/predict?explain=true", KEY, 200),
        ("//predict", KEY, 404),
        ("/./predict", KEY, 404),
        ("/livez/../predict", "", 404),
        ("/livez/%2e%2e/predict", "", 404),
        ("/%70redict", "", 401),
        ("/predict#/livez", "", 401),
        ("http://gateway/predict", "", 401),
        ("http://gateway/predict", KEY, 200),
        ("http://gateway/livez/../predict", "", 404),
    ],
)
async def test_what_a_request_without_the_right_key_gets(tmp_path, target, more, status):
    """
    The two ways of `/predict` refuse alike, however the target and the headers are written.
    """
    async with keyed(tmp_path) as gateway:
        answer = await Wire(gateway.app).ask(asked(target, more=more))

    assert status == answer.status
    assert (status == 200) == (b"prediction" in answer.body)


async def test_a_key_is_good_for_its_own_request_only(tmp_path):
    """
    What comes behind it on the same connection, in the same piece, brings its own.
    """
    async with keyed(tmp_path) as gateway:
        wire = Wire(gateway.app)
        wire.send(
            asked("/predict", more=KEY) + asked("/predict") + asked("/predict", more=KEY)
            + asked("/users", method="GET", body=b"") + asked("/predict", more=KEY)
        )  # fmt: skip
        answers = await wire.answers(5)

    assert [200, 401, 200, 401, 200] == [answer.status for answer in answers]


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "DELETE", "TRACE", "PATCH"])
async def test_no_method_says_anything_of_users_without_a_key(tmp_path, method):
    """
    Refused before any of it is asked of Redis.
    """
    async with keyed(tmp_path) as gateway:
        gateway.redis.away = True
        answer = await Wire(gateway.app).ask(asked("/users/ada", method=method, body=b""))

    assert 401 == answer.status
    assert b"cache-control: no-store" in answer.headers
