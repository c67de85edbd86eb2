"""The longer statements. Each is one round trip and one transaction. Its first CTE holds the preconditions.

A statement that changes an asset and its stage locks the asset first: two that lock in different orders could wait for
each other. A CTE that reads beside an UPDATE that had to wait sees data as old as the statement. Only what the UPDATE
returns is current.

The fifth part of a rendition's key names the stage that made it, and the attempt (`output_prefix`).
"""

CLAIM = """
WITH before AS (
    SELECT a.*, s.state, extract(epoch FROM s.lease_until - now())::float8 AS remaining,
           extract(epoch FROM s.updated_at)::float8 AS stage_updated
    FROM assets a LEFT JOIN stages s ON s.asset_id = a.asset_id AND s.stage = $2
    WHERE a.asset_id = $1),
open AS (
    SELECT asset_id FROM assets
    WHERE asset_id = $1 AND version_id = $4 AND status = ANY($6::text[]) FOR UPDATE),
claimed AS (
    UPDATE stages s SET state = 'leased', attempt = s.attempt + 1,
           lease_until = now() + $3::float8 * interval '1 second',
           forgiven = CASE WHEN s.state = 'failed' THEN s.attempt ELSE s.forgiven END, updated_at = now()
    FROM open
    WHERE s.asset_id = open.asset_id AND s.stage = $2
      AND (s.state = 'queued' OR (s.state = 'leased' AND s.lease_until <= now())
           OR (s.state = 'failed' AND extract(epoch FROM s.updated_at) < $7::float8))
    RETURNING s.asset_id, s.attempt, s.forgiven, s.plan),
moved AS (
    UPDATE assets a SET status = $5, code = NULL, detail = NULL, updated_at = now()
    FROM claimed WHERE a.asset_id = claimed.asset_id AND a.status <> $5)
SELECT before.*, claimed.attempt AS claimed_attempt, claimed.forgiven AS claimed_forgiven, claimed.plan,
       extract(epoch FROM now())::float8 AS claimed_at
FROM before LEFT JOIN claimed USING (asset_id)
"""

DESCRIBE = """
WITH before AS (
    SELECT asset_id,
           CASE WHEN $2::jsonb ? 'title' THEN $2->>'title' ELSE title END AS title,
           CASE WHEN $2 ? 'external_id' THEN $2->>'external_id' ELSE external_id END AS external_id,
           CASE jsonb_typeof($2->'metadata')
                WHEN 'object' THEN jsonb_strip_nulls(metadata || ($2->'metadata'))
                WHEN 'null' THEN '{}' ELSE metadata END AS metadata,
           status, delivery, pending_delivery,
           nullif($2->>'delivery', coalesce(pending_delivery, delivery)) AS wanted
    FROM assets WHERE asset_id = $1 AND status <> 'deleted' FOR UPDATE),
sized AS (
    -- As bytes of JSON without white space: Postgres writes a space after each colon and comma.
    SELECT *, CASE WHEN keys > $3 OR octet_length(metadata::text) - greatest(0, 2 * keys - 1) > $4 THEN 'too_large'
                   WHEN wanted IS NULL THEN NULL
                   WHEN pending_delivery IS NOT NULL THEN 'delivery_changing'
                   WHEN status <> 'ready' OR EXISTS (
                       SELECT FROM stages s WHERE s.asset_id = before.asset_id AND s.state = ANY($6::text[]))
                       THEN 'not_ready' END AS refusal
    FROM before, LATERAL (SELECT count(*) AS keys FROM jsonb_object_keys(metadata)) AS counted),
changed AS (
    UPDATE assets a SET title = s.title, external_id = s.external_id, metadata = s.metadata, updated_at = now(),
           pending_delivery = coalesce(s.wanted, a.pending_delivery),
           delivery_changes = a.delivery_changes + (s.wanted IS NOT NULL)::int
    FROM sized s
    WHERE a.asset_id = s.asset_id AND s.refusal IS NULL
      AND (s.wanted IS NOT NULL
           OR (a.title, a.external_id, a.metadata) IS DISTINCT FROM (s.title, s.external_id, s.metadata))
    RETURNING a.asset_id, a.delivery, s.wanted, a.delivery_changes),
noted AS (
    INSERT INTO timeline (asset_id, code, detail)
    SELECT asset_id, 'delivery_changing', delivery || ' to ' || wanted FROM changed WHERE wanted IS NOT NULL),
sent AS (
    INSERT INTO outbox (asset_id, kind, target, body, due_at)
    SELECT asset_id, 'change_delivery', wanted, jsonb_build_object('number', delivery_changes, 'keep',
           CASE WHEN delivery = 'public' THEN 0 ELSE $5::float8 END), now()
    FROM changed WHERE wanted IS NOT NULL)
SELECT CASE WHEN NOT EXISTS (SELECT FROM sized) THEN 'gone' ELSE coalesce((SELECT refusal FROM sized),
            CASE WHEN EXISTS (SELECT FROM changed) THEN 'changed' ELSE 'same' END) END
"""
"""What belongs to a change is written beside it, from `changed`: nothing where nothing changed."""

END_DELIVERY_CHANGE = """
WITH open AS (
    SELECT asset_id, delivery, pending_delivery FROM assets
    WHERE asset_id = $1 AND delivery_changes = $2 AND pending_delivery IS NOT NULL
      AND ($3::jsonb IS NULL OR status = 'ready') FOR UPDATE),
won AS (
    SELECT * FROM open
    WHERE $3 IS NULL
       OR (NOT EXISTS (SELECT FROM stages WHERE asset_id = $1 AND state = ANY($8::text[]))
           AND $3 = (SELECT coalesce(jsonb_object_agg(name, key), '{}') FROM renditions WHERE asset_id = $1))),
switched AS (
    UPDATE renditions r SET key = $4::jsonb ->> r.name FROM won WHERE r.asset_id = won.asset_id AND $3 IS NOT NULL),
moved AS (
    UPDATE assets a SET delivery = CASE WHEN $3 IS NULL THEN a.delivery ELSE a.pending_delivery END,
           pending_delivery = NULL, updated_at = now()
    FROM won WHERE a.asset_id = won.asset_id),
noted AS (
    INSERT INTO timeline (asset_id, code, detail)
    SELECT asset_id, CASE WHEN $3 IS NULL THEN 'delivery_kept' ELSE 'delivery_changed' END,
           delivery || ' to ' || pending_delivery || $5
    FROM won),
sent AS (
    INSERT INTO outbox (asset_id, kind, target, body, due_at)
    SELECT asset_id, e.kind, e.target, e.body, now() + $7::float8 * interval '1 second'
    FROM won, jsonb_to_recordset($6::jsonb) AS e(kind text, target text, body jsonb))
SELECT EXISTS (SELECT FROM won)
"""
"""A stage that opens changes the status under the asset's lock, and a CTE that waited for the lock sees the new one."""

RENEW = """
UPDATE stages s SET lease_until = now() + $4::float8 * interval '1 second'
FROM unnest($1::uuid[], $2::text[], $3::int[]) AS held(asset_id, stage, attempt)
WHERE s.asset_id = held.asset_id AND s.stage = held.stage AND s.attempt = held.attempt
  AND s.state || '' = 'leased' AND s.lease_until > now()
RETURNING s.asset_id, s.stage, s.attempt
"""
"""The state as an expression, so that no plan reads an index of all that is unfinished to find a few."""

RELEASE = """
WITH released AS (
    UPDATE stages SET state = 'queued', lease_until = NULL, forgiven = forgiven + $4, updated_at = now()
    WHERE asset_id = $1 AND stage = $2 AND attempt = $3 AND state = 'leased' RETURNING *)
INSERT INTO timeline (asset_id, stage, attempt, code, detail)
SELECT asset_id, stage, attempt, $5, $6 FROM released WHERE $5::text IS NOT NULL
"""

COMMIT = """
WITH open AS (
    SELECT asset_id FROM assets WHERE asset_id = $1 AND status = ANY($5::text[]) FOR UPDATE),
won AS (
    UPDATE stages s SET state = $6, lease_until = NULL,
           job_id = CASE WHEN $6 = 'queued' THEN NULL ELSE coalesce($7, s.job_id) END,
           plan = CASE WHEN $6 IN ('queued', 'failed', 'rejected') THEN NULL ELSE s.plan END,
           progress = CASE WHEN $6 = 'done' THEN 100 ELSE greatest(s.progress, $8::smallint) END,
           nudges = 0, nudge_at = NULL, updated_at = now()
    FROM open
    WHERE s.asset_id = open.asset_id AND s.stage = $2 AND s.attempt = $3 AND s.state = $4
      AND (s.state <> 'leased' OR (s.lease_until > now()) <> $17::bool)
    RETURNING s.asset_id, s.stage, s.attempt),
moved AS (
    UPDATE assets a SET status = $9, code = $10, detail = $11, updated_at = now(),
           progress = CASE WHEN $9 = 'ready' THEN 100 ELSE a.progress END,
           ready_at = CASE WHEN $9 = 'ready' THEN now() ELSE a.ready_at END,
           content_type = coalesce(f.content_type, a.content_type), size = coalesce(f.size, a.size),
           sha256 = coalesce(f.sha256, a.sha256), width = coalesce(f.width, a.width),
           height = coalesce(f.height, a.height), duration_ms = coalesce(f.duration_ms, a.duration_ms),
           placeholder = coalesce(f.placeholder, a.placeholder),
           dominant_color = coalesce(f.dominant_color, a.dominant_color),
           page_count = coalesce(f.page_count, a.page_count),
           document_info = coalesce(f.document_info, a.document_info),
           notes = (SELECT coalesce(jsonb_agg(n), '[]') FROM (
                        SELECT n FROM jsonb_array_elements(a.notes) AS n WHERE n ->> 'stage' <> won.stage
                        UNION ALL
                        SELECT n || jsonb_build_object('stage', won.stage) FROM jsonb_array_elements(f.notes) AS n
                        LIMIT 50) AS both_stages)
    FROM won, jsonb_to_record($12::jsonb) AS f(content_type text, size bigint, sha256 text, width int, height int,
                                               duration_ms bigint, placeholder text, dominant_color text,
                                               page_count int, document_info jsonb, notes jsonb)
    WHERE a.asset_id = won.asset_id
    RETURNING a.asset_id),
replaced AS (
    DELETE FROM renditions r USING won
    WHERE r.asset_id = won.asset_id
      AND ((split_part(r.key, '/', 5) LIKE won.stage || '-%' AND $6 <> 'waiting')
           OR r.name IN (SELECT made ->> 'name' FROM jsonb_array_elements($13::jsonb) AS made))
    RETURNING r.name),
rendered AS (
    INSERT INTO renditions (asset_id, name, key, content_type, bytes, width, height, duration_ms, attempt)
    SELECT won.asset_id, r.name, r.key, r.content_type, r.bytes, r.width, r.height, r.duration_ms, won.attempt
    FROM won, jsonb_to_recordset($13::jsonb) AS r(name text, key text, content_type text, bytes bigint,
                                                  width int, height int, duration_ms bigint)
    WHERE (SELECT count(*) FROM replaced) >= 0),
noted AS (
    INSERT INTO timeline (asset_id, stage, attempt, code, detail)
    SELECT won.asset_id, won.stage, won.attempt, n.code, n.detail
    FROM won, jsonb_to_recordset($14::jsonb) AS n(code text, detail text)),
queued AS (
    INSERT INTO stages (asset_id, stage) SELECT asset_id, $15 FROM won WHERE $15::text IS NOT NULL
    ON CONFLICT (asset_id, stage) DO UPDATE SET state = 'queued', forgiven = stages.attempt, lease_until = NULL,
        updated_at = now()),
sent AS (
    INSERT INTO outbox (asset_id, kind, target, body, group_id)
    SELECT won.asset_id, e.kind, e.target, e.body, e.group_id
    FROM won, jsonb_to_recordset($16::jsonb) AS e(kind text, target text, body jsonb, group_id text)
    RETURNING *)
SELECT sent.* FROM won LEFT JOIN sent USING (asset_id)
"""

PROGRESS = """
WITH open AS (SELECT asset_id FROM assets WHERE asset_id = $1 FOR UPDATE),
waiting AS (
    UPDATE stages s SET progress = greatest(s.progress, $3::smallint), nudges = 0, nudge_at = NULL, updated_at = now()
    FROM open WHERE s.asset_id = open.asset_id AND s.stage = 'transcode' AND s.state = 'waiting' AND s.job_id = $2
    RETURNING s.asset_id, s.progress)
UPDATE assets a SET progress = waiting.progress, updated_at = now()
FROM waiting WHERE a.asset_id = waiting.asset_id AND a.status = 'processing' AND a.progress < waiting.progress
RETURNING 1
"""

RECORD_SUBMISSION = """
WITH held AS (
    UPDATE stages SET plan = jsonb_set($4::jsonb, '{at}', to_jsonb(extract(epoch FROM now())::float8)),
           updated_at = now()
    WHERE asset_id = $1 AND stage = $2 AND attempt = $3 AND state = 'leased' AND lease_until > now()
    RETURNING asset_id, stage, attempt),
noted AS (
    INSERT INTO timeline (asset_id, stage, attempt, code, detail)
    SELECT held.asset_id, held.stage, held.attempt, n.code, n.detail
    FROM held, jsonb_to_recordset($5::jsonb) AS n(code text, detail text))
SELECT 1 FROM held
"""

RECORD_PROGRESS = """
WITH held AS (
    UPDATE stages SET progress = greatest(progress, $4::smallint), updated_at = now()
    WHERE asset_id = $1 AND stage = $2 AND attempt = $3 AND state = 'leased' AND lease_until > now()
    RETURNING asset_id, progress),
moved AS (
    UPDATE assets a SET progress = held.progress, updated_at = now()
    FROM held WHERE a.asset_id = held.asset_id AND a.status = 'processing' AND a.progress < held.progress)
SELECT 1 FROM held
"""
