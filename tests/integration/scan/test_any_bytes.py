"""Any bytes of any announced type pass or end with a code, and clamd survives."""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.scan.clamd.instream import Address
from media.asset import Asset, AssetType, StageState, Status
from media.asset_store.stages import Commit
from media.errors import Code, RejectedError
from tests.conftest import Scanner
from tests.integration.scan.conftest import ScanStage

HEADS = [
    b"",
    b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    b"%PDF-1.7\n7 0 obj\n<< /Type /ObjStm /N 1 /First 4 /Filter /FlateDecode >>\nstream\nx\x9c",
    b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
    b"\x89PNG\r\n\x1a\n",
    b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2",
    b"\x1aE\xdf\xa3",
    b"ID3\x04\x00\x00\x00\x00\x00\x00",
    b"PK\x03\x04\x14\x00\x01\x00\x08\x00",
    b"Rar!\x1a\x07\x01\x00",
    b"7z\xbc\xaf\x27\x1c\x00\x04",
    b"MZ\x90\x00",
]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(head=st.sampled_from(HEADS), tail=st.binary(max_size=2000), asset_type=st.sampled_from(AssetType))
async def test_any_bytes_pass_or_end_with_a_code(
    head: bytes, tail: bytes, asset_type: AssetType, scan_stage: ScanStage, clamd: Scanner
) -> None:
    asset = await scan_stage.asset(head + tail, asset_type)
    ended = await ended_as(scan_stage, asset, clamd)
    if isinstance(ended, Commit):
        passed = (ended.state, ended.code) == (StageState.DONE, None)
        assert passed is (ended.status in {Status.PROCESSING, Status.READY})
        assert passed or (ended.status, bool(ended.code)) == (Status.REJECTED, True)
        assert not ended.renditions or asset_type is AssetType.DOCUMENT
    os.kill(clamd.pid, 0)


async def ended_as(scan_stage: ScanStage, asset: Asset, clamd: Scanner) -> Commit | Code:
    """Return the commit, or the code of a rejection. Any other error fails the test."""
    try:
        return await scan_stage.scan(asset, Address.parse(clamd.address))
    except RejectedError as error:
        return error.code
