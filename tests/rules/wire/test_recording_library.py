"""The library under the format still speaks the published standards: an upgrade cannot change a byte unnoticed."""

import hashlib
import hmac
import json
import zlib
from base64 import b64decode
from functools import cache
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PrivateKey, Suite

from broker.wire.keys import _expand, segment_keys, xwing_from_seed
from tests.rules.wire.chunked import Chunked
from tests.rules.wire.recordings import recording_id, seeded

_VECTORS = Path(cryptography_vectors.__file__).parent
_XWING = 0x647A
_KDFS = {1: KDF.HKDF_SHA256, 2: KDF.HKDF_SHA384, 3: KDF.HKDF_SHA512, 16: KDF.SHAKE128, 17: KDF.SHAKE256}
_AEADS = {1: AEAD.AES_128_GCM, 2: AEAD.AES_256_GCM, 3: AEAD.CHACHA20_POLY1305}


@cache
def _read(name: str) -> Any:
    return json.loads((_VECTORS / name).read_bytes())


def _xwing() -> list[dict[str, Any]]:
    return [each for each in _read("HPKE/hpke-pq-test-vectors.json") if each["kem_id"] == _XWING]


def _x25519() -> list[dict[str, Any]]:
    wanted = {"mode": 0, "kem_id": 0x20}
    found = [each for each in _read("HPKE/test-vectors.json") if wanted.items() <= each.items()]
    return [each for each in found if each["aead_id"] in _AEADS]


@pytest.mark.parametrize("number", range(2))
def test_x_wing_opens_the_published_vectors(number: int) -> None:
    vector = _xwing()[number]
    keys = xwing_from_seed(bytes.fromhex(vector["skRm"]))
    assert keys.public_key.hex() == vector["pkRm"]
    suite = Suite(KEM.MLKEM768_X25519, _KDFS[vector["kdf_id"]], _AEADS[vector["aead_id"]])
    private = MLKEM768X25519PrivateKey(*_expand(keys.seed))
    _check_first_message(vector, suite, private)


def test_hpke_opens_the_published_vectors_of_rfc_9180() -> None:
    vectors = _x25519()
    assert len(vectors) >= 4
    for vector in vectors:
        suite = Suite(KEM.X25519, _KDFS[vector["kdf_id"]], _AEADS[vector["aead_id"]])
        _check_first_message(vector, suite, X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["skRm"])))


def _check_first_message(vector: dict[str, Any], suite: Suite, private: Any) -> None:
    first = vector["encryptions"][0]
    sent = bytes.fromhex(vector["enc"] + first["ct"])
    info, aad = bytes.fromhex(vector["info"]), bytes.fromhex(first["aad"])
    opened = openssl.hpke._decrypt_with_aad(suite, sent, private, info=info, aad=aad)
    assert opened.hex() == first["pt"]
    with pytest.raises(InvalidTag):
        openssl.hpke._decrypt_with_aad(suite, sent, private, info=info + b"!", aad=aad)


def test_the_chunked_encryption_of_the_published_vectors_is_what_a_second_reader_reads() -> None:
    outcomes = {"success": 0, "failure": 0}
    for vector in _read("chunked-encryption/vectors.json")["vectors"]:
        if vector["aead"] != "AEAD_AES_256_GCM":
            continue
        message = b64decode(vector["ciphertext"] or "")
        message = zlib.decompress(message) if vector.get("compressed") else message
        reader = Chunked(hashes.SHA256(), bytes.fromhex(vector["key"]), vector["context"].encode())
        try:
            opened: bytes | None = reader.open(message)
        except InvalidTag:
            opened = None
        assert (opened is not None) == (vector["expect"] == "success"), vector["name"]
        if opened is not None:
            assert hashlib.sha256(opened).hexdigest() == vector["payload_sha256"], vector["name"]
        outcomes[vector["expect"]] += 1
    assert outcomes == {"success": 9, "failure": 25}


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 32_768, 50_000])
def test_the_library_and_a_second_reader_agree_in_both_directions(size: int) -> None:
    key, context, plaintext = seeded("key"), seeded("header", 160), seeded("footage", size)
    encryptor = Cobblestone256Encryptor(key, context)
    sealed = encryptor.update(plaintext) + encryptor.finalize()
    ours = Chunked(hashes.SHA512(), key, context)
    assert ours.open(sealed) == plaintext
    assert ours.seal(plaintext, sealed[:24]) == sealed
    decryptor = Cobblestone256Decryptor(key, context)
    assert decryptor.update(ours.seal(plaintext, bytes(24))) + decryptor.finalize() == plaintext


def test_the_ratchet_is_hkdf_expand_and_nothing_else() -> None:
    """RFC 5869 section 2.3 written out once more, so that the keys of old recordings can be made without our code."""
    recording, data_key = recording_id(), seeded("data key")

    def expand(key: bytes, label: bytes, length: int) -> bytes:
        info = label + b"\0" + recording.bytes
        return hmac.digest(key, info + b"\x01", "sha512")[:length]

    keys: list[bytes] = []
    chain = expand(data_key, b"vier-ogen/chain0/v1", 32)
    for _ in range(5):
        step = expand(chain, b"vier-ogen/ratchet/v1", 64)
        chain, keys = step[:32], [*keys, step[32:]]
    assert segment_keys(data_key, recording, 0, 4) == tuple(keys)
