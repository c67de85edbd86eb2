"""Builds a daemon from its settings. Only this module knows every part."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from consumer.daemon import Daemon, Phase
from consumer.ecs_protection import ScaleInProtection
from consumer.health import Health
from consumer.maintenance.delivery_mover import DeliveryMover
from consumer.maintenance.event_sender import event_tasks
from consumer.maintenance.output_cleanup import OutputCleanup
from consumer.maintenance.paused_queues import PausedQueues
from consumer.maintenance.presence import Presence, consumer_id
from consumer.maintenance.reconciler import Reconciler
from consumer.queue.circuit_breaker import Breakers, Probe
from consumer.queue.part_health import watch_parts
from consumer.queue.retry import RetryPolicy
from consumer.queue.worker import QueueWorker, Route, WorkerLimits
from consumer.routes import Routes
from consumer.stages.handover import HandoverQueue
from consumer.stages.intake import Intake
from consumer.stages.job_events import JobEvents
from consumer.stages.lifecycle import StageLifecycle
from consumer.stages.outbox_effects import OutboxEffects
from consumer.stages.runner import StageHandler, StageRunner
from handlers.held_pictures import CAPACITY, HeldPictures
from handlers.image.documents.renderer import PageRenderer
from handlers.image.handler import DocumentPages, ImageHandler
from handlers.image.renderer import ImageLimits, ImageRenderer
from handlers.process_tempdir import process_tempdir
from handlers.recording import RecordingHandler
from handlers.scan.clamd.client import Clamd
from handlers.scan.clamd.instream import Address
from handlers.scan.clamd.monitor import ScannerMonitor
from handlers.scan.clamd.pool import ScannerPool
from handlers.scan.documents.inspector import DocumentInspector
from handlers.scan.handler import DocumentTools, ScanHandler, ScanPolicy
from handlers.transcode.engine import Engine
from handlers.transcode.ffmpeg.engine import FfmpegEngine
from handlers.transcode.handler import TranscodeHandler
from handlers.transcode.mediaconvert.engine import MediaConvertEngine
from handlers.transcode.mediaconvert.event_handler import TranscodeEventHandler
from handlers.transcode.mediaconvert.polled_event import event_of_job
from handlers.transcode.packaging.finalizer import Finalizer
from handlers.transcode.probing.prober import Prober
from media.asset import Asset, AssetType, Stage
from media.asset_store.assets import AssetStore
from media.asset_store.database import Database, connect
from media.asset_store.housekeeping import Housekeeping, Retention
from media.asset_store.operations import ConsumerStatus, Operations
from media.asset_store.stage_maintenance import OrphanedOutputs, StageMaintenance
from media.asset_store.stages import Fence, StageStore
from media.aws.bucket_checks import BucketSelfTest, VersioningCheck
from media.aws.clients import Clients
from media.aws.failures import AccessCheck
from media.aws.mediaconvert import Transcoder
from media.aws.s3 import ObjectStorage
from media.aws.s3_transfer import ObjectTransfer
from media.aws.sqs import MessageQueues
from media.cdn.cloudfront import CloudFrontCache
from media.cdn.invalidations import Invalidations
from media.errors import Dependency
from media.events.eventbridge import EventBus
from media.network.readiness import Ask, Readiness
from media.outbox import Outbox
from media.settings import Settings
from media.stage_endings import EndingRules
from media.telemetry import Metrics, service_registry, watch_loop

CONNECTIONS = 5
"""Most connections of a consumer to Postgres. At work, two cores of images need a tenth of one."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """Parts that are opened first and closed last."""

    settings: Settings
    metrics: Metrics
    database: Database
    storage: ObjectStorage
    transfer: ObjectTransfer
    self_test: BucketSelfTest
    queues: MessageQueues
    images: HandoverQueue
    transcoder: Transcoder
    cache: CloudFrontCache | None
    bus: EventBus | None
    scanners: ScannerPool
    renderer: ImageRenderer
    pages: PageRenderer
    inspector: DocumentInspector
    scratch: Path

    @property
    def retry(self) -> RetryPolicy:
        s = self.settings
        return RetryPolicy(base=s.retry_base, cap=s.retry_cap, attempts=s.max_attempts)

    @property
    def finalizer(self) -> Finalizer:
        return Finalizer(self.storage, self.transfer, self.metrics, self.settings.output_bucket)

    @property
    def rules(self) -> EndingRules:
        return EndingRules(self.settings.output_bucket, self.settings.max_attempts)

    @property
    def outbox(self) -> Outbox:
        own = frozenset({self.settings.output_bucket})
        assets, invalidations = AssetStore(self.database), Invalidations(self.database, self.cache)
        effects = OutboxEffects(self.queues, self.storage, self.transcoder, assets, own, invalidations)
        return Outbox(self.database, effects.dispatchers())

    @property
    def lifecycle(self) -> StageLifecycle:
        assets, stages = AssetStore(self.database), StageStore(self.database)
        lease = float(self.settings.visibility_timeout)
        ends = assets, stages, self.outbox, self.metrics, self.rules, self.retry
        return StageLifecycle(*ends, lease=lease, hand_over=self.images.offer)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[tuple[Daemon, Health]]:
    """Build a daemon that is ready to run, and the server of its health. All is closed in reverse order."""
    async with AsyncExitStack() as stack:
        parts = await _open(settings, stack)
        breakers = Breakers(_probes(parts, parts.self_test.check), parts.metrics, watched=[Dependency.POSTGRES])
        lifecycle = parts.lifecycle
        assets = lifecycle.assets
        events_handler = TranscodeEventHandler(parts.finalizer, assets.timeline, assets.late_version_at)
        job_events = JobEvents(events_handler, lifecycle)
        routes = _handlers(parts, lifecycle, job_events).routes()
        workers = _workers(parts, lifecycle.stages, breakers, routes)
        name = consumer_id()
        paused = PausedQueues(Operations(parts.database), name, routes, breakers)
        reconciler = _reconciler(parts, lifecycle, paused, breakers.trip, job_events)
        scanner_monitor = ScannerMonitor(parts.scanners, settings.max_bytes(), settings.scan_max_bytes, parts.metrics)
        background_tasks = [breakers.run, reconciler.run, reconciler.sweep, reconciler.report_depths]
        background_tasks += [partial(watch_loop, parts.metrics.loop_lag)]
        background_tasks += [scanner_monitor.run] if "uploads" in settings.queues else []
        versioning = VersioningCheck(parts.storage, settings.output_bucket)
        await versioning.ask()
        background_tasks += [versioning.run]

        def status() -> ConsumerStatus:
            away, in_flight = breakers.open(list(Dependency)), sum(worker.in_flight for worker in workers)
            return ConsumerStatus(name, daemon.phase, away, in_flight)

        presence = Presence(Operations(parts.database), status)
        monitored, tasks = event_tasks(settings, parts.database, parts.bus, breakers, parts.metrics)
        mover = DeliveryMover(parts.database, assets, parts.storage, parts.rules)
        monitored += [part.health for part in (reconciler, presence, mover)]
        monitored += [part for worker in workers for part in worker.health]
        background_tasks += [*tasks, presence.run, mover.run, partial(watch_parts, monitored)]
        probes = _probes(parts, parts.self_test.read)
        needed = {need for worker in workers for need in worker.route.needs}
        asks: dict[str, Ask] = {f"{name} is unavailable": probe for name, probe in probes.items() if name in needed}
        # A receive that is never answered says so only after its long poll, twice.
        asks[f"{Dependency.SQS} is unavailable"] = parts.queues[settings.queues[0]].depth
        readiness = Readiness(asks)

        async def reasons_unready() -> list[str]:
            if daemon.phase is not Phase.RUNNING:
                return [daemon.phase]
            reasons = [f"{name} is unavailable" for name in breakers.open(needed)]
            reasons += [reason for reason in await readiness.reasons() if reason not in reasons]
            reasons += [f"the {part.name} keeps failing" for part in monitored if part.keeps_failing]
            reasons += [] if versioning.passed else ["S3 has not said whether the bucket is versioned"]
            reasons += [reason for worker in workers if (reason := worker.trouble)]
            return reasons

        daemon = Daemon(workers, background_tasks, parts.metrics, drain_timeout=settings.drain_timeout)
        yield (
            daemon,
            Health(
                [worker.poller for worker in workers],
                reasons_unready,
                parts.metrics,
                needs_restart=lambda: parts.database.needs_restart,
                busy=lambda: any(worker.busy for worker in workers),
            ),
        )


async def _open(settings: Settings, stack: AsyncExitStack) -> _Parts:
    metrics = Metrics(service_registry(commit=settings.commit, environment=settings.environment))
    clients = Clients(settings, stack, lambda service, operation: metrics.aws.labels(service, operation).inc())
    scratch = await asyncio.to_thread(stack.enter_context, process_tempdir("media-consumer-"))
    limits = ImageLimits(
        max_bytes=settings.image_max_bytes,
        max_pixels=settings.image_max_pixels,
        max_total_pixels=settings.image_max_total_pixels,
        memory=settings.image_memory,
        timeout=settings.image_timeout,
        workers=settings.image_workers,
        budget=settings.image_budget,
    )
    scanners = [
        Clamd(
            Address.parse(address),
            timeout=settings.clamd_timeout,
            concurrency=settings.scan_concurrency,
            spool=settings.scan_spool_bytes,
            scratch=scratch,
            largest=settings.scan_max_bytes,
        )
        for address in settings.clamds()
    ]
    s3 = await clients.s3()
    self_test = BucketSelfTest(s3, settings.output_bucket)
    access = AccessCheck(Dependency.S3, self_test.check)
    distribution = settings.cloudfront_distribution_id
    database = await stack.enter_async_context(
        connect(
            settings.database_url,
            max_size=CONNECTIONS,
            application="media-consumer",
            statement_cache=settings.database_statement_cache,
        )
    )
    sqs, urls = await clients.sqs(), settings.queue_urls()
    return _Parts(
        settings=settings,
        metrics=metrics,
        database=database,
        storage=ObjectStorage(s3, access),
        transfer=ObjectTransfer(s3, access),
        self_test=self_test,
        queues=MessageQueues(sqs, urls, metrics),
        images=HandoverQueue(sqs, "images", urls["images"], metrics, Outbox(database, {})),
        transcoder=Transcoder(await clients.mediaconvert()),
        cache=CloudFrontCache(await clients.cloudfront(), distribution) if distribution else None,
        bus=EventBus(await clients.eventbridge(), settings.event_bus) if settings.event_bus else None,
        scanners=ScannerPool(scanners),
        renderer=await stack.enter_async_context(ImageRenderer(limits, scratch)),
        pages=await stack.enter_async_context(PageRenderer(scratch)),
        inspector=await stack.enter_async_context(DocumentInspector(scratch, max_bytes=settings.document_max_bytes)),
        scratch=scratch,
    )


def _handlers(parts: _Parts, lifecycle: StageLifecycle, job_events: JobEvents) -> Routes:
    settings, bucket = parts.settings, parts.settings.output_bucket

    def runner(stage: Stage, handler: StageHandler) -> StageRunner:
        return StageRunner(stage, handler, lifecycle)

    policy = ScanPolicy(
        max_bytes=settings.scan_max_bytes,
        limits=settings.max_bytes(),
        reencode_unscannable_video=settings.takes_unscanned(AssetType.VIDEO),
        own_bucket=bucket,
        quarantine_bucket=settings.quarantine_bucket,
    )
    pages = DocumentPages(parts.pages, settings.document_pages, lifecycle.assets.get)
    pictures = HeldPictures(CAPACITY if "images" in settings.queues else 0)
    tools = parts.storage, parts.renderer, pages, parts.metrics, pictures
    image = ImageHandler(*tools, bucket=bucket, scratch=parts.scratch)
    prober = Prober(settings.ffprobe, max_duration=settings.max_duration, scratch=parts.scratch, ffmpeg=settings.ffmpeg)
    protection, slots = ScaleInProtection(settings.ecs_agent_uri), asyncio.Semaphore(settings.ffmpeg_jobs)
    local = FfmpegEngine(parts.finalizer, settings.ffmpeg, parts.scratch, protection.held, slots)
    engine: Engine = local
    if settings.transcoder != "ffmpeg":
        role, queue = settings.mediaconvert_role_arn, settings.mediaconvert_queue
        engine = MediaConvertEngine(parts.storage, parts.transcoder, bucket=bucket, role_arn=role, queue=queue)
    transcode = TranscodeHandler(parts.storage, prober, engine, lifecycle.stages.recorder, local)
    documents = DocumentTools(parts.inspector, parts.transfer, parts.scratch)
    scan = runner(Stage.SCAN, ScanHandler(parts.storage, parts.scanners, policy, parts.metrics, documents, pictures))
    recording = RecordingHandler(parts.storage, frozenset(settings.recording_buckets))
    return Routes(
        intake=Intake(
            lifecycle.assets,
            lifecycle.outbox,
            scan,
            recording,
            parts.metrics.uploads,
            uploads_queue=parts.queues["uploads"],
            own_bucket=bucket,
        ),
        image=runner(Stage.IMAGE, image),
        transcode=runner(Stage.TRANSCODE, transcode),
        job_events=job_events,
        transcode_needs=() if settings.transcoder == "ffmpeg" else (Dependency.MEDIACONVERT,),
    )


def _limits(settings: Settings, queue: str) -> WorkerLimits:
    """Return a queue's limits. Where ffmpeg runs here, one video fills the machine: leave the next ones to others."""
    heavy = queue == "transcodes" and settings.transcoder == "ffmpeg"
    return WorkerLimits(
        concurrency=settings.ffmpeg_jobs if heavy else settings.concurrency,
        prefetch=0 if heavy else settings.prefetch,
        pollers=settings.pollers,
        visibility=settings.visibility_timeout,
        wait=settings.receive_wait,
    )


def _workers(parts: _Parts, stages: StageStore, breakers: Breakers, routes: list[Route]) -> list[QueueWorker]:
    settings = parts.settings

    async def renew(leases: Sequence[Hashable]) -> set[Hashable]:
        fences = [lease for lease in leases if isinstance(lease, Fence)]
        return set(await stages.renew(fences, lease=float(settings.visibility_timeout)))

    workers = [
        QueueWorker(
            route,
            parts.images if route.queue == "images" else parts.queues[route.queue],
            parts.queues.dead_letters(route.queue),
            renew,
            breakers,
            parts.retry,
            parts.metrics,
            _limits(settings, route.queue),
        )
        for route in routes
        if route.queue in settings.queues
    ]
    parts.images.worker = next((worker for worker in workers if worker.route.queue == parts.images.name), None)
    return workers


def _reconciler(
    parts: _Parts,
    lifecycle: StageLifecycle,
    paused: PausedQueues,
    trip: Callable[[Dependency], None],
    job_events: JobEvents,
) -> Reconciler:
    async def ask_job(asset: Asset, job_id: str) -> None:
        await job_events.apply(event_of_job(await parts.transcoder.get(job_id), asset))

    kept = parts.settings
    retention = Retention(kept.expired_retention, kept.deleted_retention, kept.timeline_retention, kept.plan_retention)
    return Reconciler(
        holder=consumer_id(),
        maintenance=StageMaintenance(parts.database),
        assets=lifecycle.assets,
        storage=parts.storage,
        outbox=lifecycle.outbox,
        lifecycle=lifecycle,
        output_cleanup=OutputCleanup(OrphanedOutputs(parts.database), lifecycle),
        housekeeping=Housekeeping(parts.database, retention),
        queues=parts.queues,
        names=parts.settings.queues,
        paused=paused,
        ask_job=ask_job,
        trip=trip,
        metrics=parts.metrics,
        interval=parts.settings.reconcile_interval,
        expiry=parts.settings.pending_expiry,
    )


def _probes(parts: _Parts, s3: Probe) -> dict[Dependency, Probe]:
    probes: dict[Dependency, Probe] = {
        Dependency.CLAMD: parts.scanners.ping,
        Dependency.POSTGRES: parts.database.probe,
        Dependency.S3: s3,
        Dependency.MEDIACONVERT: parts.transcoder.ping,
    }
    return probes | ({Dependency.EVENTBRIDGE: parts.bus.check} if parts.bus else {})
