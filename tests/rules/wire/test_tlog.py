"""The tree against published roots and against an independent one; notes and proofs against every changed byte."""

import hashlib
from base64 import b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.wire import tlog
from broker.wire.refusals import Code, Refused

# The eight entries and roots of the Certificate Transparency reference tests, reproduced by every RFC 6962 tree.
ENTRIES = [bytes.fromhex(each) for each in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "ledger.example/town"


def naive_root(entries: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1 as it is written there; shares no code with the product."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    k = 1
    while 2 * k < len(entries):
        k *= 2
    return hashlib.sha256(b"\1" + naive_root(entries[:k]) + naive_root(entries[k:])).digest()


def naive_path(index: int, entries: list[bytes]) -> list[bytes]:
    if len(entries) <= 1:
        return []
    k = 1
    while 2 * k < len(entries):
        k *= 2
    if index < k:
        return [*naive_path(index, entries[:k]), naive_root(entries[k:])]
    return [*naive_path(index - k, entries[k:]), naive_root(entries[:k])]


def tree_of(entries: list[bytes]) -> tlog.Tree:
    tree = tlog.Tree()
    for entry in entries:
        tree.append(tlog.leaf_hash(entry))
    return tree


@pytest.mark.parametrize("size", range(1, 9))
def test_the_tree_has_the_published_roots(size: int) -> None:
    assert tree_of(ENTRIES[:size]).root().hex() == ROOTS[size - 1]
    assert tlog.root_of(ENTRIES[:size]).hex() == ROOTS[size - 1]


def test_an_empty_tree_has_the_root_of_nothing() -> None:
    assert tlog.root_of([]) == hashlib.sha256(b"").digest()


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=70), st.data())
@settings(max_examples=60, deadline=None)
def test_every_root_path_and_growth_agrees_with_the_definition(entries: list[bytes], data: st.DataObject) -> None:
    tree = tree_of(entries)
    size = data.draw(st.integers(1, len(entries)))
    index = data.draw(st.integers(0, size - 1))
    older = data.draw(st.integers(1, size))
    assert tree.root(size) == naive_root(entries[:size])
    path = tree.inclusion(index, size)
    assert list(path) == naive_path(index, entries[:size])
    tlog.check_inclusion(tlog.leaf_hash(entries[index]), index=index, size=size, path=path, root=tree.root(size))
    tlog.check_consistency(
        first=older,
        first_root=tree.root(older),
        second=size,
        second_root=tree.root(size),
        path=tree.consistency(older, size),
    )


@given(st.integers(1, 40), st.data())
@settings(max_examples=60, deadline=None)
def test_taking_leaves_back_gives_the_tree_before_them(size: int, data: st.DataObject) -> None:
    entries = [bytes([n]) for n in range(size)]
    back = data.draw(st.integers(0, size))
    tree = tree_of(entries)
    tree.forget_after(back)
    assert tree.size == back
    for entry in (*entries[back:], b"more"):
        tree.append(tlog.leaf_hash(entry))
    assert tree.root() == naive_root([*entries, b"more"])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 20])
def test_no_other_index_entry_size_or_root_fits_an_inclusion_proof(size: int) -> None:
    entries = [bytes([n]) for n in range(size)]
    tree = tree_of(entries)
    for index in range(size):
        good = {"index": index, "size": size, "path": tree.inclusion(index), "root": tree.root()}
        leaf = tlog.leaf_hash(entries[index])
        tlog.check_inclusion(leaf, **good)  # type: ignore[arg-type]
        wrong = [
            {**good, "index": (index + 1) % size if size > 1 else 1},
            {**good, "index": -1},
            {**good, "path": (*tree.inclusion(index), bytes(32))},
            {**good, "root": bytes(32)},
        ]
        if size > 1:
            wrong.append({**good, "path": tree.inclusion(index)[:-1]})
        for each in wrong:
            with pytest.raises(Refused):
                tlog.check_inclusion(leaf, **each)  # type: ignore[arg-type]
        with pytest.raises(Refused):
            tlog.check_inclusion(tlog.leaf_hash(b"never logged"), **good)  # type: ignore[arg-type]


def test_a_tree_that_changed_its_past_is_not_consistent() -> None:
    honest = tree_of([bytes([n]) for n in range(20)])
    forked = tree_of([bytes([n if n != 3 else 99]) for n in range(20)])
    for older in range(4, 20):
        with pytest.raises(Refused):
            tlog.check_consistency(
                first=older,
                first_root=honest.root(older),
                second=20,
                second_root=forked.root(),
                path=forked.consistency(older),
            )


@pytest.mark.parametrize(("first", "second"), [(3, 2), (-1, 2), (2, 3), (3, 3), (0, 3)])
def test_a_consistency_proof_of_nothing_proves_nothing(first: int, second: int) -> None:
    with pytest.raises(Refused):
        tlog.check_consistency(first=first, first_root=b"a" * 32, second=second, second_root=b"b" * 32, path=())


def test_the_published_note_is_signed_by_its_published_key() -> None:
    """The example of Go's golang.org/x/mod/sumdb/note, whose format C2SP signed-note is."""
    text = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
        "\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    name, key = tlog.read_verifier_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    note = tlog.check_note(text.encode(), name=name, key=key)
    assert note.text.startswith("If you think")
    assert tlog.verifier_key(name, key) == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


def proof_of(entries: list[bytes], index: int) -> bytes:
    tree = tree_of(entries)
    checkpoint = tlog.sign_checkpoint(origin=ORIGIN, size=tree.size, root=tree.root(), key=KEY)
    return tlog.write_proof(tlog.Proof(index=index, path=tree.inclusion(index), checkpoint=checkpoint.note))


@pytest.mark.rule("H-46")
def test_a_proof_holds_and_no_changed_bit_of_it_does() -> None:
    entries = [b"zero", b"one", b"two", b"three", b"four"]
    proof = proof_of(entries, 2)
    assert tlog.check_proof(proof, leaf=b"two", origin=ORIGIN, key=KEY.public_key()).size == 5
    for at in range(len(proof)):
        for bit in range(8):
            damaged = bytearray(proof)
            damaged[at] ^= 1 << bit
            with pytest.raises(Refused):
                tlog.check_proof(bytes(damaged), leaf=b"two", origin=ORIGIN, key=KEY.public_key())


def test_a_proof_cut_short_anywhere_is_refused() -> None:
    proof = proof_of([b"zero", b"one", b"two"], 1)
    for length in range(len(proof)):
        with pytest.raises(Refused):
            tlog.check_proof(proof[:length], leaf=b"one", origin=ORIGIN, key=KEY.public_key())


def test_a_proof_of_another_ledger_or_entry_is_refused() -> None:
    proof = proof_of([b"zero", b"one"], 1)
    stranger = Ed25519PrivateKey.generate().public_key()
    for leaf, origin, key in (
        (b"zero", ORIGIN, KEY.public_key()),
        (b"one", "ledger.example/other", KEY.public_key()),
        (b"one", ORIGIN, stranger),
    ):
        with pytest.raises(Refused):
            tlog.check_proof(proof, leaf=leaf, origin=origin, key=key)


def test_extra_data_in_a_proof_is_passed_over() -> None:
    first, rest = proof_of([b"zero"], 0).split(b"\n", 1)
    proof = first + b"\nextra aGVsbG8=\n" + rest
    assert tlog.check_proof(proof, leaf=b"zero", origin=ORIGIN, key=KEY.public_key()).size == 1


def test_a_witness_cosigns_what_it_saw_and_when() -> None:
    witness = Ed25519PrivateKey.generate()
    checkpoint = tlog.sign_checkpoint(origin=ORIGIN, size=1, root=tlog.leaf_hash(b"zero"), key=KEY)
    cosigned = tlog.cosign(checkpoint.note, name="witness.example/w1", key=witness, posix_s=1_790_000_000)
    when = tlog.check_cosignature(cosigned, name="witness.example/w1", key=witness.public_key())
    assert when == 1_790_000_000
    assert tlog.read_checkpoint(cosigned, origin=ORIGIN, key=KEY.public_key()).size == 1
    proof = tlog.write_proof(tlog.Proof(index=0, path=(), checkpoint=cosigned))
    named = {"witness.example/w1": witness.public_key(), "witness.example/w2": KEY.public_key()}
    assert (
        tlog.check_proof(proof, leaf=b"zero", origin=ORIGIN, key=KEY.public_key(), witnesses=named, quorum=1).note
        == cosigned
    )
    with pytest.raises(Refused) as refused:
        tlog.check_proof(proof, leaf=b"zero", origin=ORIGIN, key=KEY.public_key(), witnesses=named, quorum=2)
    assert refused.value.refusal.code is Code.BAD_SIGNATURE


def test_the_published_cosignature_has_the_published_shape() -> None:
    """The example of C2SP tlog-cosignature: key id, time and signature as they stand there."""
    line = "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
    note = tlog.read_note(
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        f"— witness.example.com/w1 {line}\n".encode()
    )
    name, key_id, signature = note.signatures[0]
    assert (name, key_id) == ("witness.example.com/w1", b64decode(line)[:4])
    assert (len(signature), int.from_bytes(signature[:8], "big")) == (72, 1679315147)


@pytest.mark.parametrize(
    "text",
    [
        "ledger.example/town+00000000+AR0=",
        "no plus signs",
        "a+b+c",
        tlog.verifier_key("x", KEY.public_key()).replace("x+", "y+"),
        tlog.verifier_key("x", KEY.public_key(), kind=tlog.COSIGNATURE),
    ],
)
def test_a_mistyped_ledger_key_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        tlog.read_verifier_key(text)


def test_a_verifier_key_survives_being_handed_on() -> None:
    name, key = tlog.read_verifier_key(tlog.verifier_key(ORIGIN, KEY.public_key()))
    assert (name, key.public_bytes_raw()) == (ORIGIN, KEY.public_key().public_bytes_raw())


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_a_proof_parser_only_ever_refuses(raw: bytes) -> None:
    with pytest.raises(Refused):
        tlog.check_proof(raw, leaf=b"", origin=ORIGIN, key=Ed25519PublicKey.from_public_bytes(bytes(31) + b"\1"))
