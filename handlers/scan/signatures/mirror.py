"""Mirror ClamAV's signatures into the bucket: one round of the scheduled task."""

from pathlib import Path

import structlog

from handlers.process_tempdir import process_tempdir
from handlers.scan.clamd.instream import Address
from handlers.scan.signatures.bucket import SignatureBucket, SignatureSourceError
from handlers.scan.signatures.clamd_process import ClamdProcess
from handlers.scan.signatures.disk import SignatureDisk
from handlers.scan.signatures.freshclam import Upstream
from handlers.scan.signatures.signature_set import describe, mismatch

log = structlog.get_logger(__name__)


async def mirror(bucket: SignatureBucket, folder: Path, upstream: Upstream) -> str:
    """Publish what `upstream` has, if it is whole, loadable and not older. Returns what went wrong.

    The published set is always a whole one: an update of one database counts, even if the mirror fails at the next.
    Raises OSError for a disk that is full.
    """
    copy, disk = folder / "mirror", SignatureDisk(folder)
    try:
        held = await bucket.published()
        published = held.manifest if held else None
        disk.empty_incoming()
        wrong = ""
        if published:
            try:
                # Only what is new is then asked of the mirror.
                await bucket.collect(published, disk)
            except SignatureSourceError as error:
                log.warning("signatures.source_failed", source=bucket.name, reason=str(error))
            if wrong := mismatch(published, disk.incoming):
                log.warning("signatures.damaged", set=published.id, reason=wrong)
                disk.empty_incoming()
        disk.incoming.rename(copy)
        failed = await upstream.update(copy, tests=True)
        found = describe(copy)
        if (missing := upstream.missing(found)) or found is None:
            return failed or f"there is no {', '.join(missing)}"
        if wrong or published is None or found.id != published.id:
            reason = found.regression(published) or await loads(copy)
            if reason:
                return f"not published: {reason}"
            await bucket.publish(found, copy, held, anew=bool(wrong))
            log.info("signatures.published", set=found.id, versions=dict(found.versions))
        if not failed:
            # An alarm in deploy/cloudformation/signatures.yaml counts these lines.
            log.info("signatures.checked", set=found.id, versions=dict(found.versions), age_days=found.age_days())
    except SignatureSourceError as error:
        return str(error)
    return failed


async def loads(folder: Path) -> str:
    """Load a set with a clamd of its own, which checks the databases' digital signatures. Returns what is wrong."""
    with process_tempdir("media-clamd-") as private:
        configuration = private / "clamd.conf"
        socket = private / "s"
        configuration.write_text(
            f"Foreground yes\nDatabaseDirectory {folder}\nLocalSocket {socket}\nTemporaryDirectory {private}\n"
        )
        checked = ClamdProcess(["clamd", f"--config-file={configuration}"], Address(path=str(socket)))
        reason = await checked.start()
        await checked.stop()
        return reason
