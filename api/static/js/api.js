/** The service's HTTP interface, one method per endpoint. Every failure is a `Problem`. */

import { askedPause, pause } from './retry.js';
import { problemInWords } from './messages.js';

const BASE = '/api/v1/media';
const DEADLINE_MS = 20_000;
/** How often one call waits as it is told to; the rate limits' windows are a minute, so once is the rule. */
const MOST_WAITS = 4;

/** What went wrong, in words for people (`message`), with the status and the server's stable code. */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(problemInWords(status, body));
    this.status = status;
    this.code = body.code ?? '';
    this.retryAfter = body.retryAfter ?? null;
  }
}

export class Api {
  #session;
  #onUnauthorized;
  #onWait;

  /**
   * `onUnauthorized` is asked for a new token when one is refused; it answers whether to try again. `onWait` hears of
   * every pause that the service asks for, in milliseconds, before it begins.
   */
  constructor(session, onUnauthorized, onWait = () => {}) {
    this.#session = session;
    this.#onUnauthorized = onUnauthorized;
    this.#onWait = onWait;
  }

  startUpload(request, key) { return this.#call('POST', '/upload', { body: request, headers: { 'Idempotency-Key': key } }); }
  confirmUpload(id) { return this.#call('POST', '/upload/confirm', { body: { asset_id: id } }); }
  startParts(request, key) { return this.#call('POST', '/upload/multipart', { body: request, headers: { 'Idempotency-Key': key } }); }
  parts(id) { return this.#call('GET', `/upload/multipart/${id}`); }
  signParts(id, numbers) { return this.#call('POST', `/upload/multipart/${id}/parts`, { body: { part_numbers: numbers } }); }
  completeParts(id, parts) { return this.#call('POST', `/upload/multipart/${id}/complete`, { body: { parts } }); }
  asset(id) { return this.#call('GET', `/assets/${id}`); }
  remove(id) { return this.#call('DELETE', `/assets/${id}`); }
  timeline(id) { return this.#call('GET', `/assets/${id}/timeline`); }
  ticket() { return this.#call('POST', '/events/ticket'); }
  operations() { return this.#call('GET', '/ops/summary'); }
  redrive(request) { return this.#call('POST', '/ops/redrive', { body: request }); }

  assets({ type, status, cursor, limit }) {
    const query = new URLSearchParams({ limit });
    if (type) query.set('asset_type', type);
    if (status) query.set('status', status);
    if (cursor) query.set('cursor', cursor);
    return this.#call('GET', `/assets?${query}`);
  }

  url(id, rendition) {
    return this.#call('GET', `/assets/${id}/url${rendition ? `?rendition=${encodeURIComponent(rendition)}` : ''}`);
  }

  /** An EventSource on all of one's own assets. */
  events(ticket) { return new EventSource(`${BASE}/assets/events?ticket=${encodeURIComponent(ticket)}`); }

  /** Every call here may be repeated: those that make something carry a key. So a 429 or 503 that names a time is waited for. */
  async #call(method, path, options = {}) {
    for (let waits = 0; ; waits += 1) {
      const response = await this.#authorized(method, path, options);
      if (response.ok) return response.status === 204 ? null : response.json();
      const problem = new Problem(response.status, await problemBody(response));
      const asked = askedPause(problem);
      if (asked === null || waits === MOST_WAITS) throw problem;
      this.#onWait(asked);
      await pause(asked);
    }
  }

  async #authorized(method, path, options) {
    const token = this.#session.token;
    const response = await this.#send(method, path, options, token);
    const again = response.status === 401 && (this.#session.token !== token || await this.#onUnauthorized());
    return again ? this.#send(method, path, options, this.#session.token) : response;
  }

  async #send(method, path, { body, headers }, token) {
    try {
      return await fetch(BASE + path, {
        method,
        headers: {
          Authorization: `Bearer ${token}`,
          ...(body ? { 'Content-Type': 'application/json' } : {}),
          ...headers,
        },
        body: body ? JSON.stringify(body) : undefined,
        signal: AbortSignal.timeout(DEADLINE_MS),
      });
    } catch (error) {
      throw new Problem(0, { detail: error.message });
    }
  }
}

async function problemBody(response) {
  const retryAfter = secondsOf(response.headers.get('Retry-After'));
  const body = await response.json().catch(() => ({})); // A proxy's HTML page: the status alone must do.
  return { ...body, retryAfter };
}

/** `Retry-After` in seconds, from either of its forms; null when there is none. */
function secondsOf(header) {
  if (!header) return null;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

/**
 * The URLs of renditions, asked for once and kept until a minute before they end.
 */
export class Urls {
  #api;
  #kept = new Map();

  constructor(api) { this.#api = api; }

  /** The answer of `GET …/url`: `{url, rendition, expires_at}`. */
  async of(asset, rendition = '') {
    const key = `${asset.asset_id} ${rendition}`;
    const kept = this.#kept.get(key);
    if (kept && kept.until > Date.now()) return kept.answer;
    const answer = this.#api.url(asset.asset_id, rendition);
    this.#kept.set(key, { answer, until: Date.now() + 60_000 });
    try {
      const { expires_at: end } = await answer;
      this.#kept.get(key).until = end ? Date.parse(end) - 60_000 : Infinity;
    } catch (error) {
      this.#kept.delete(key);
      throw error;
    }
    return answer;
  }

  /** A `srcset` of those renditions of a picture whose names are given, smallest first. */
  async srcset(asset, names) {
    const pictures = pictureRenditions(asset).filter((rendition) => names.includes(rendition.name));
    const answers = await Promise.all(pictures.map((rendition) => this.of(asset, rendition.name)));
    return pictures.map((rendition, i) => `${answers[i].url} ${rendition.width}w`).join(', ');
  }

  forget(assetId) {
    for (const key of this.#kept.keys()) if (key.startsWith(assetId)) this.#kept.delete(key);
  }
}

/** The WebPs of an asset, smallest first. */
export function pictureRenditions(asset) {
  return (asset.renditions ?? []).filter((r) => /^w\d+$/.test(r.name)).sort((a, b) => a.width - b.width);
}
