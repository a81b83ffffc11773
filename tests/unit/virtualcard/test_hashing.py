"""SHA-1 and SHA-256 from an intermediate state agree with the libraries."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.virtualcard.hashing import CardHash

INITIAL = {
    CardHash.SHA1: bytes.fromhex("67452301EFCDAB8998BADCFE10325476C3D2E1F0"),
    CardHash.SHA256: bytes.fromhex("6A09E667BB67AE853C6EF372A54FF53A510E527F9B05688C1F83D9AB5BE0CD19"),
}


@pytest.mark.parametrize("card_hash", list(CardHash))
@given(message=st.binary(max_size=600), share=st.floats(min_value=0, max_value=1))
def test_a_message_cut_at_any_block_hashes_as_a_whole(
    card_hash: CardHash, message: bytes, share: float
) -> None:
    cut = int(len(message) // 64 * share) * 64
    state = card_hash.absorb(INITIAL[card_hash], message[:cut])
    expected = hashlib.new(card_hash.name, message).digest()
    assert card_hash.finish(state, 8 * cut, message[cut:]) == expected
    assert card_hash.whole(message) == expected
