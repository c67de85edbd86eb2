/** The service's HTTP interface, one method per endpoint. Every failure is a `Problem`. */

import { problemInWords } from './words.js';

const BASE = '/api/v1/media';
const DEADLINE_MS = 20_000;

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

  /** `onUnauthorized` is asked for a new token when one is refused; it answers whether to try again. */
  constructor(session, onUnauthorized) {
    this.#session = session;
    this.#onUnauthorized = onUnauthorized;
  }

  startUpload(request, key) { return this.#call('POST', '/upload', { body: request, headers: { 'Idempotency-Key': key } }); }
  confirmUpload(id) { return this.#call('POST', '/upload/confirm', { body: { asset_id: id } }); }
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

  async #call(method, path, options = {}, again = true) {
    const token = this.#session.token;
    const response = await this.#send(method, path, options, token);
    if (response.status === 401 && again && (this.#session.token !== token || await this.#onUnauthorized())) {
      return this.#call(method, path, options, false);
    }
    if (!response.ok) throw new Problem(response.status, await problemBody(response));
    return response.status === 204 ? null : response.json();
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
  const retryAfter = Number(response.headers.get('Retry-After')) || null;
  const body = await response.json().catch(() => ({})); // A proxy's HTML page: the status alone must do.
  return { ...body, retryAfter };
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
