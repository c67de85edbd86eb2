"""Files are cut into parts within S3's limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media.aws.s3_multipart import MAX_PARTS, MIB, SMALLEST_PART, part_size, size_of_part
from media.settings import GIB


@given(st.integers(1, 50 * GIB))
def test_any_file_fits_into_the_parts_that_s3_takes(size: int) -> None:
    part = part_size(size)
    count = -(-size // part)
    assert count <= MAX_PARTS
    assert part >= SMALLEST_PART
    assert part % MIB == 0
    assert (count - 1) * part + size_of_part(count, size, part) == size
    assert size_of_part(count + 1, size, part) == 0


@pytest.mark.parametrize(("size", "part"), [(1, 8 * MIB), (50 * GIB, 8 * MIB), (5 * 1024 * GIB, 525 * MIB)])
def test_parts_grow_with_the_file(size: int, part: int) -> None:
    assert part_size(size) == part
