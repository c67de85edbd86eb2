"""Pictures are held within a bound, and are taken once."""

from uuid import uuid4

from handlers.held_pictures import HeldPictures


def test_a_picture_is_taken_once() -> None:
    held, asset_id = HeldPictures(), uuid4()
    held.put(asset_id, [b"a", b"b"])
    assert held.take(asset_id) == [b"a", b"b"]
    assert held.take(asset_id) is None


def test_the_oldest_make_room() -> None:
    held, first, second, third = HeldPictures(10), uuid4(), uuid4(), uuid4()
    held.put(first, [bytes(4)])
    held.put(second, [bytes(4)])
    held.put(first, [bytes(5)])  # scanned again
    held.put(third, [bytes(4)])
    assert held.take(second) is None
    assert held.take(first) == [bytes(5)]
    assert held.take(third) == [bytes(4)]


def test_nothing_is_held_where_nobody_renders() -> None:
    held, asset_id = HeldPictures(0), uuid4()
    held.put(asset_id, [b"a"])
    assert held.take(asset_id) is None
