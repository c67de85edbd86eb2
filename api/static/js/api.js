/** The service's HTTP interface, one method per endpoint. Every failure is a `Problem`. */

import { describeProblem } from './messages.js';
import { pause, requestedPause } from './retry.js';

const BASE = '/api/v1/media';
/** Milliseconds for one request. */
const DEADLINE_MS = 20_000;
/** How often one call waits and tries again when the service asks for it. Rate limits have a window of a minute, so once is usual. */
const MAX_WAITS = 4;

/** A failed request: a `message` for users, the status, and the server's stable code. Status 0: no response. */
export class Problem extends Error {
  constructor(status, body = {}) {
    super(describeProblem(status, body));
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
   * `onUnauthorized` is called when a token is refused; it resolves to whether to try again with a new one. `onWait` is
   * called with every pause that the service asks for, in milliseconds, before it begins.
   */
  constructor(session, onUnauthorized, onWait = () => {}) {
    this.#session = session;
    this.#onUnauthorized = onUnauthorized;
    this.#onWait = onWait;
  }

  limits() { return this.#call('GET', '/upload/limits'); }
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
  discard(request) { return this.#call('POST', '/ops/discard', { body: request }); }
  deadLetters(query) { return this.#call('GET', `/ops/dead-letters?${new URLSearchParams(query)}`); }

  /** List a page of assets. The first one tells the `total` too. */
  assets({ type, status, sort, cursor, limit }) {
    const query = new URLSearchParams({ limit, sort });
    if (type) query.set('asset_type', type);
    if (status) query.set('status', status);
    if (cursor) query.set('cursor', cursor);
    else query.set('count', 'true');
    return this.#call('GET', `/assets?${query}`);
  }

  url(id, rendition) {
    return this.#call('GET', `/assets/${id}/url${rendition ? `?rendition=${encodeURIComponent(rendition)}` : ''}`);
  }

  /** Open an EventSource for all assets of the ticket's owner. */
  events(ticket) { return new EventSource(`${BASE}/assets/events?ticket=${encodeURIComponent(ticket)}`); }

  /** Send a request. After a 429 or 503 with `Retry-After` it waits and repeats, which is safe: calls that create something carry an idempotency key. */
  async #call(method, path, options = {}) {
    for (let waits = 0; ; waits += 1) {
      const response = await this.#authorized(method, path, options);
      if (response.ok) return response.status === 204 ? null : response.json();
      const problem = new Problem(response.status, await readProblem(response));
      const milliseconds = requestedPause(problem);
      if (milliseconds === null || waits === MAX_WAITS) throw problem;
      this.#onWait(milliseconds);
      await pause(milliseconds);
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

async function readProblem(response) {
  const retryAfter = parseRetryAfter(response.headers.get('Retry-After'));
  const body = await response.json().catch(() => ({})); // A proxy's HTML page has no code: the status must do.
  return { ...body, retryAfter };
}

/** Parse `Retry-After`, seconds or a date. Return seconds, or null without a valid header. */
function parseRetryAfter(header) {
  if (!header) return null;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

/** A cache of rendition URLs. A URL is cached until a minute before it expires. */
export class Urls {
  #api;
  #cache = new Map();

  constructor(api) { this.#api = api; }

  /** Return the response of `GET …/url`: `{url, rendition, expires_at}`. */
  async of(asset, rendition = '') {
    const key = `${asset.asset_id} ${rendition}`;
    const cached = this.#cache.get(key);
    if (cached && cached.until > Date.now()) return cached.response;
    const response = this.#api.url(asset.asset_id, rendition);
    this.#cache.set(key, { response, until: Date.now() + 60_000 });
    try {
      const { expires_at: end } = await response;
      this.#cache.get(key).until = end ? Date.parse(end) - 60_000 : Infinity;
    } catch (error) {
      this.#cache.delete(key);
      throw error;
    }
    return response;
  }

  /** Return a response that is not from the cache. */
  renew(asset, rendition) {
    this.#cache.delete(`${asset.asset_id} ${rendition}`);
    return this.of(asset, rendition);
  }

  /** Build a `srcset` of the picture's renditions with these names, smallest first. */
  async srcset(asset, names) {
    const pictures = pictureRenditions(asset).filter((rendition) => names.includes(rendition.name));
    const responses = await Promise.all(pictures.map((rendition) => this.of(asset, rendition.name)));
    return pictures.map((rendition, i) => `${responses[i].url} ${rendition.width}w`).join(', ');
  }

  forget(assetId) {
    for (const key of this.#cache.keys()) if (key.startsWith(assetId)) this.#cache.delete(key);
  }
}

/** List the pages of a document that have a picture of their own, in order. */
export function pageRenditions(asset) {
  const number = (rendition) => Number(rendition.name.slice('page-'.length));
  return (asset.renditions ?? []).filter((r) => /^page-\d+$/.test(r.name)).sort((a, b) => number(a) - number(b));
}

/** List the WebP renditions of an asset, smallest first. */
export function pictureRenditions(asset) {
  return (asset.renditions ?? []).filter((r) => /^w\d+$/.test(r.name)).sort((a, b) => a.width - b.width);
}
