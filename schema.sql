-- The database of the media service, whole and re-appliable: run it on an empty database or on one that has it.
-- Applied by `python -m media.schema apply`, under an advisory lock, only where it changed: in one transaction, but for
-- new indexes of tables that are there, which are built one at a time beside readers and writers (CONCURRENTLY).
--
-- To change it: keep what stands here and add, in forms that may run twice (ADD COLUMN IF NOT EXISTS, nullable or with a
-- constant default). Code of the version before must go on working beside it; then raise VERSION in
-- media/schema/apply.py and the last line, and write down what it makes then (`python -m media.schema list >
-- media/schema/schema.parts`). What breaks older code (a dropped column) needs a release of its own and a higher
-- `oldest_code`. Keep a copy of what was released in tests/integration/operate/schemas/: the tests upgrade from each.

CREATE TABLE IF NOT EXISTS schema_version (
    version     integer PRIMARY KEY,
    applied_at  timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE schema_version ADD COLUMN IF NOT EXISTS oldest_code integer NOT NULL DEFAULT 1; -- that still works with it
ALTER TABLE schema_version ADD COLUMN IF NOT EXISTS digest text;                            -- of this file

CREATE TABLE IF NOT EXISTS assets (
    asset_id          uuid PRIMARY KEY,
    owner_id          text NOT NULL CHECK (owner_id ~ '^[A-Za-z0-9_-]{1,64}$'),
    asset_type        text NOT NULL CHECK (asset_type IN ('image', 'video', 'audio', 'document')),
    status            text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'uploaded', 'scanning',
                          'processing', 'ready', 'rejected', 'failed', 'expired', 'deleted')),
    code              text,
    detail            text,
    delivery          text NOT NULL CHECK (delivery IN ('public', 'course_video', 'course_pdf', 'webinar_vod',
                          'verification_document')),
    content_type      text NOT NULL,
    original_filename text NOT NULL,
    declared_size     bigint CHECK (declared_size >= 0),
    bucket            text NOT NULL,
    key               text NOT NULL,
    version_id        text,            -- NULL until an object version is bound, then never changed
    etag              text,
    sequencer         text,
    size              bigint,
    sha256            text,
    width             integer,
    height            integer,
    duration_ms       bigint,
    progress          smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    placeholder       text,
    dominant_color    text,
    title             text,
    webinar_id        text,
    recording_id      text UNIQUE,     -- makes the webinar service's message idempotent
    recorded_at       timestamptz,
    trace_id          text NOT NULL DEFAULT '',
    uploaded_at       timestamptz,
    ready_at          timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS assets_unfinished ON assets (created_at)
    WHERE status IN ('pending', 'uploaded', 'scanning', 'processing');
-- Each filter of a listing has an index that holds its assets in the listing's order: see media/asset_store/listing.py.
-- Two that begin with the same column are a trap: Postgres may read the wrong one and sort. The test of the plans tells.
-- squawk-ignore require-concurrent-index-deletion -- media/schema/indexes.py does, once what replaces it is there
DROP INDEX IF EXISTS assets_by_owner;
CREATE INDEX IF NOT EXISTS assets_live ON assets (created_at, asset_id) WHERE status <> 'deleted';
CREATE INDEX IF NOT EXISTS assets_live_by_owner ON assets (owner_id, created_at, asset_id) WHERE status <> 'deleted';
CREATE INDEX IF NOT EXISTS assets_by_kind ON assets (status, asset_type, created_at, asset_id);
CREATE INDEX IF NOT EXISTS assets_by_owner_and_kind ON assets (owner_id, status, asset_type, created_at, asset_id);
CREATE INDEX IF NOT EXISTS assets_by_webinar ON assets (webinar_id, created_at, asset_id) WHERE webinar_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS assets_by_owner_and_webinar ON assets ((owner_id || ' ' || webinar_id), created_at, asset_id)
    WHERE webinar_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS assets_expired ON assets (updated_at) WHERE status = 'expired';
-- An upload in parts: S3's name for it, which only the owner's signed URLs carry, and the bytes of each part but the last.
ALTER TABLE assets ADD COLUMN IF NOT EXISTS upload_id text;
ALTER TABLE assets ADD COLUMN IF NOT EXISTS part_size bigint;
ALTER TABLE assets ADD COLUMN IF NOT EXISTS page_count integer; -- of a document
ALTER TABLE assets ADD COLUMN IF NOT EXISTS document_info jsonb; -- title, author, created, modified: what it says of itself
-- What users should know of an asset: objects of `code`, `detail`, and the `stage` whose next commit replaces them.
ALTER TABLE assets ADD COLUMN IF NOT EXISTS notes jsonb NOT NULL DEFAULT '[]';
-- Uploads for it that came after the bound version, or after it was deleted, and are removed: how many, and the last.
ALTER TABLE assets ADD COLUMN IF NOT EXISTS late_versions integer NOT NULL DEFAULT 0;
ALTER TABLE assets ADD COLUMN IF NOT EXISTS late_version_at timestamptz;
-- What other services call it, and what they and its owner write on it.
ALTER TABLE assets ADD COLUMN IF NOT EXISTS external_id text;
ALTER TABLE assets ADD COLUMN IF NOT EXISTS metadata jsonb NOT NULL DEFAULT '{}';
-- Anybody may write one on thousands of assets. So each status and type of it is found by itself.
CREATE INDEX IF NOT EXISTS assets_live_by_external_id ON assets (external_id, created_at, asset_id)
    WHERE external_id IS NOT NULL AND status <> 'deleted';
CREATE INDEX IF NOT EXISTS assets_live_by_owner_and_external_id
    ON assets ((owner_id || ' ' || external_id), created_at, asset_id)
    WHERE external_id IS NOT NULL AND status <> 'deleted';
CREATE INDEX IF NOT EXISTS assets_by_external_id_and_kind
    ON assets ((external_id || ' ' || status || ' ' || asset_type), created_at, asset_id)
    WHERE external_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS assets_by_owner_external_id_and_kind
    ON assets ((owner_id || ' ' || external_id || ' ' || status || ' ' || asset_type), created_at, asset_id)
    WHERE external_id IS NOT NULL;
ALTER TABLE assets ADD COLUMN IF NOT EXISTS announced text; -- a keyed digest of the request with the Idempotency-Key
-- For what waits, by status and age: it replaces assets_unfinished, which version 6 uses. And for who catches up.
CREATE INDEX IF NOT EXISTS assets_by_change ON assets ((owner_id || ''), updated_at, asset_id);
CREATE INDEX IF NOT EXISTS assets_by_status ON assets (status, created_at, asset_id)
    WHERE status IN ('pending', 'uploaded', 'scanning', 'processing');
CREATE INDEX IF NOT EXISTS assets_deleted ON assets (updated_at) WHERE status = 'deleted';

-- Where its files are being copied to, and how often that was begun: the number stands in the names of the copies' folders.
ALTER TABLE assets ADD COLUMN IF NOT EXISTS pending_delivery text;
ALTER TABLE assets ADD COLUMN IF NOT EXISTS delivery_changes integer NOT NULL DEFAULT 0;

-- Events of it that were written: the last one's number, which only grows.
ALTER TABLE assets ADD COLUMN IF NOT EXISTS event_sequence bigint NOT NULL DEFAULT 0;

-- One row per asset and stage. `attempt` only grows: it is the fencing token and names the output prefix.
-- What counts against the limit of attempts is `attempt - forgiven`; a new round forgives all.
CREATE TABLE IF NOT EXISTS stages (
    asset_id     uuid NOT NULL REFERENCES assets ON DELETE CASCADE,
    stage        text NOT NULL CHECK (stage IN ('scan', 'image', 'transcode')),
    state        text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'leased', 'waiting', 'done', 'rejected',
                     'failed', 'cancelled')),
    attempt      integer NOT NULL DEFAULT 0,
    forgiven     integer NOT NULL DEFAULT 0,
    lease_until  timestamptz,
    job_id       text,
    progress     smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    plan         jsonb,               -- what a submitted job will yield; read when it completes
    nudges       smallint NOT NULL DEFAULT 0,
    nudge_at     timestamptz,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (asset_id, stage)
);
CREATE INDEX IF NOT EXISTS stages_unfinished ON stages (updated_at) WHERE state IN ('queued', 'leased', 'waiting');
CREATE INDEX IF NOT EXISTS stages_by_job ON stages (job_id) WHERE job_id IS NOT NULL;
-- When the prefixes of attempts that lost were looked at once more, long after: one that was thought dead may have written.
ALTER TABLE stages ADD COLUMN IF NOT EXISTS swept_at timestamptz;
CREATE INDEX IF NOT EXISTS stages_unswept ON stages (updated_at)
    WHERE attempt > 1 AND (swept_at IS NULL OR swept_at < updated_at);
-- The search for stages that stand still: those that were never reminded, and those whose next reminder is due.
CREATE INDEX IF NOT EXISTS stages_silent ON stages (stage, state, updated_at)
    WHERE state IN ('queued', 'leased', 'waiting') AND nudge_at IS NULL;
CREATE INDEX IF NOT EXISTS stages_reminded ON stages (stage, state, nudge_at)
    WHERE state IN ('queued', 'leased', 'waiting') AND nudge_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS stages_planned ON stages (updated_at) WHERE state = 'done' AND plan IS NOT NULL;

CREATE TABLE IF NOT EXISTS renditions (
    asset_id     uuid NOT NULL REFERENCES assets ON DELETE CASCADE,
    name         text NOT NULL,
    key          text NOT NULL,       -- in the output bucket
    content_type text NOT NULL,
    bytes        bigint NOT NULL,
    width        integer,
    height       integer,
    duration_ms  bigint,
    attempt      integer NOT NULL,
    PRIMARY KEY (asset_id, name)
);

CREATE TABLE IF NOT EXISTS timeline (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset_id  uuid NOT NULL REFERENCES assets ON DELETE CASCADE,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    stage     text,
    attempt   integer,
    code      text NOT NULL,
    detail    text NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS timeline_by_asset ON timeline (asset_id, id);

-- What must happen because of what was written beside it. Sent right after the commit; swept when that failed.
CREATE TABLE IF NOT EXISTS outbox (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset_id    uuid NOT NULL REFERENCES assets ON DELETE CASCADE,
    kind        text NOT NULL,        -- send | quarantine | delete_prefix | delete_version | delete_key | cancel_job | invalidate | change_delivery
    target      text NOT NULL,        -- the queue for `send`, the new delivery, else the bucket or the job
    body        jsonb NOT NULL,
    group_id    text NOT NULL DEFAULT '',
    attempts    integer NOT NULL DEFAULT 0,
    error       text,
    due_at      timestamptz NOT NULL DEFAULT now() + interval '10 seconds', -- the writer sends it first
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (due_at);
CREATE INDEX IF NOT EXISTS outbox_by_asset ON outbox (asset_id);
CREATE INDEX IF NOT EXISTS outbox_failed ON outbox (due_at) WHERE attempts > 0;
CREATE INDEX IF NOT EXISTS outbox_invalidate ON outbox (id) WHERE kind = 'invalidate';

-- What others are still to be told of an asset: the asset as it was committed. It has no reference to `assets`, so that
-- it survives the asset's row.
CREATE TABLE IF NOT EXISTS event_outbox (
    id              uuid PRIMARY KEY,     -- a UUIDv7, which is the event's own
    asset_id        uuid NOT NULL,
    sequence        bigint NOT NULL,
    kind            text NOT NULL,        -- created | uploaded | ready | rejected | failed | expired | deleted | changed
    previous_status text,
    asset           jsonb NOT NULL,       -- the row of `assets`, and its `renditions`
    attempts        integer NOT NULL DEFAULT 0,
    error           text,
    due_at          timestamptz NOT NULL DEFAULT now(),
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS event_outbox_by_asset ON event_outbox (asset_id, sequence);
CREATE INDEX IF NOT EXISTS event_outbox_due ON event_outbox (due_at);
-- The bus that the consumers were last started with. Without one no event is written.
CREATE TABLE IF NOT EXISTS event_buses (
    name  text PRIMARY KEY
);

-- The daemons that live, each with a row that it refreshes every ten seconds.
CREATE TABLE IF NOT EXISTS consumers (
    id             text PRIMARY KEY,
    started_at     timestamptz NOT NULL DEFAULT now(),
    seen_at        timestamptz NOT NULL DEFAULT now(),
    phase          text NOT NULL,
    open_breakers  text[] NOT NULL,
    in_flight      integer NOT NULL
);

-- Signatures of internal callbacks that were taken, for as long as they would be believed again.
CREATE TABLE IF NOT EXISTS callbacks (
    signature   text PRIMARY KEY,
    expires_at  timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS callbacks_expired ON callbacks (expires_at);

-- Work that one process at a time does, each with the lease of the process that does it.
CREATE TABLE IF NOT EXISTS leases (
    name     text PRIMARY KEY,
    holder   text NOT NULL,
    until    timestamptz NOT NULL
);

-- How far work has come that goes through a table row by row (`timeline`), and the highest `event_sequence` of an asset
-- whose row is gone: its id may come again, and whoever knows it takes no lower number.
CREATE TABLE IF NOT EXISTS positions (
    name      text PRIMARY KEY,
    position  bigint NOT NULL
);

-- A fifth of a large table is too much to wait for: the tails of indexes, where work is found, fill with dead entries.
ALTER TABLE assets SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
                        autovacuum_analyze_scale_factor = 0.02);
-- Room on each page, so that a renewal of a lease touches no index.
ALTER TABLE stages SET (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
                        autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Every change of an asset, for some minutes: the APIs poll for those who watch it. Unlogged: after a crash it is empty,
-- and so is change_feed, by whose new epoch they notice.
CREATE UNLOGGED TABLE IF NOT EXISTS changes (
    xid       xid8 NOT NULL DEFAULT pg_current_xact_id(),
    asset_id  uuid NOT NULL,
    owner_id  text NOT NULL,
    at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS changes_by_xid ON changes (xid);
ALTER TABLE changes SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE UNLOGGED TABLE IF NOT EXISTS change_feed (
    single       boolean PRIMARY KEY DEFAULT true CHECK (single),
    epoch        uuid NOT NULL DEFAULT gen_random_uuid(),
    quiet_until  timestamptz NOT NULL DEFAULT now() -- until then no API of the version before listens for a notification
);
INSERT INTO change_feed DEFAULT VALUES ON CONFLICT DO NOTHING;
CREATE OR REPLACE FUNCTION notify_asset() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO changes (asset_id, owner_id) VALUES (NEW.asset_id, NEW.owner_id);
    -- For the version before, at the price of a lock for the whole database: to be dropped with the next version.
    IF NOT EXISTS (SELECT FROM change_feed WHERE quiet_until > now()) THEN
        PERFORM pg_notify('asset', NEW.asset_id || ' ' || NEW.owner_id);
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER assets_notify AFTER INSERT OR UPDATE ON assets FOR EACH ROW EXECUTE FUNCTION notify_asset();

-- Every change of an asset's status, and of what is said of it, writes an event in the same transaction, whichever
-- statement makes the change. One that changes what other tables hold of an asset asks for an event by
-- `event_sequence = event_sequence + 1`.
CREATE OR REPLACE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING
        substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1),
        'hex')::uuid;
$$;
CREATE OR REPLACE FUNCTION count_asset_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- Waits for whoever is deleting the row before, so that its number is seen.
        PERFORM FROM assets WHERE asset_id = NEW.asset_id FOR KEY SHARE;
        NEW.event_sequence := coalesce((SELECT position FROM positions WHERE name = 'event_sequence'), 0);
    END IF;
    IF EXISTS (SELECT FROM event_buses) THEN
        NEW.event_sequence := NEW.event_sequence + 1;
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE FUNCTION keep_event_sequence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO positions (name, position)
    SELECT 'event_sequence', max(event_sequence) FROM gone HAVING max(event_sequence) > 0
    ON CONFLICT (name) DO UPDATE SET position = excluded.position WHERE positions.position < excluded.position;
    RETURN NULL;
END $$;
-- It runs after the whole statement, and so sees the renditions that the statement wrote.
CREATE OR REPLACE FUNCTION write_asset_event() RETURNS trigger LANGUAGE plpgsql SET timezone = 'UTC' AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM event_buses) THEN
        RETURN NULL;
    END IF;
    INSERT INTO event_outbox (id, asset_id, sequence, kind, previous_status, asset)
    VALUES (uuid_v7(), NEW.asset_id, NEW.event_sequence,
            CASE WHEN OLD.status IS NULL THEN 'created'
                 WHEN NEW.status <> OLD.status AND NEW.status NOT IN ('scanning', 'processing') THEN NEW.status
                 ELSE 'changed' END,
            OLD.status,
            to_jsonb(NEW) || jsonb_build_object('renditions', (
                SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.bytes, r.name), '[]')
                FROM renditions r WHERE r.asset_id = NEW.asset_id)));
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER assets_count_created BEFORE INSERT ON assets
    FOR EACH ROW EXECUTE FUNCTION count_asset_event();
CREATE OR REPLACE TRIGGER assets_count_changed BEFORE UPDATE ON assets FOR EACH ROW
    WHEN (NEW.event_sequence = OLD.event_sequence
          AND ((NEW.status <> OLD.status
                AND (NEW.status NOT IN ('scanning', 'processing') OR OLD.status IN ('ready', 'failed')))
               OR (NEW.ready_at, NEW.delivery, NEW.pending_delivery, NEW.title, NEW.external_id, NEW.metadata, NEW.notes)
                  IS DISTINCT FROM
                  (OLD.ready_at, OLD.delivery, OLD.pending_delivery, OLD.title, OLD.external_id, OLD.metadata, OLD.notes)))
    EXECUTE FUNCTION count_asset_event();
CREATE OR REPLACE TRIGGER assets_tell_created AFTER INSERT ON assets FOR EACH ROW
    WHEN (NEW.event_sequence > 0) EXECUTE FUNCTION write_asset_event();
CREATE OR REPLACE TRIGGER assets_tell_changed AFTER UPDATE ON assets FOR EACH ROW
    WHEN (NEW.event_sequence = OLD.event_sequence + 1) EXECUTE FUNCTION write_asset_event();
CREATE OR REPLACE TRIGGER assets_keep_sequence AFTER DELETE ON assets REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION keep_event_sequence();

INSERT INTO schema_version (version, oldest_code) VALUES (7, 1) ON CONFLICT DO NOTHING;
