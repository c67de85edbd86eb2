/** Retries with backoff, waiting for a connection, and a semaphore for concurrent requests. */

import { pause } from './dom.js';

export { pause };

const MAX_ATTEMPTS = 6;
const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 20_000;
/** Longest `Retry-After` in seconds that is waited for: above a rate limit's window of a minute. A longer one is shown as an error. */
const MAX_REQUESTED_S = 90;
const JITTER_MS = 750;
/** Statuses whose `Retry-After` is honored. */
const PAUSE_STATUSES = new Set([429, 503]);
/** Statuses below 500 that are worth a retry; 0 stands for a broken connection. */
const TRANSIENT_STATUSES = new Set([0, 408, 425, 429]);

/** Statuses that say something of the file itself: the same file would be refused again. */
const PERMANENT_STATUSES = new Set([413, 415, 422]);

/** Tell whether a failure may pass, so that the same request is worth a retry. */
export function isTransient({ status }) { return TRANSIENT_STATUSES.has(status) || status >= 500; }

/** Tell whether sending the same file again may help. */
export function mayHelpToRetry({ status }) { return !PERMANENT_STATUSES.has(status); }

/** Return the milliseconds that a response asks to wait, or null. Jitter keeps clients from coming back all at once. */
export function requestedPause({ status, retryAfter }) {
  if (!PAUSE_STATUSES.has(status) || retryAfter === null || retryAfter > MAX_REQUESTED_S) return null;
  return retryAfter * 1000 + Math.random() * JITTER_MS;
}

/** Resolve when the browser is online, or `signal` aborts. */
export async function waitForConnection(signal) {
  const listening = new AbortController();
  await new Promise((resolve) => {
    if (navigator.onLine || signal.aborted) { resolve(); return; }
    addEventListener('online', resolve, { signal: listening.signal });
    signal.addEventListener('abort', resolve, { signal: listening.signal });
  });
  listening.abort();
}

/**
 * Run `attempt` until it succeeds, with growing pauses between transient failures. Return its result; throw the last
 * `Problem` or the signal's reason. While the browser is offline no attempt is made or counted, and `onOffline` is called
 * with true, then with false.
 */
export async function retry(attempt, { signal, onOffline = () => {} }) {
  for (let failures = 0; ;) {
    if (!navigator.onLine) {
      onOffline(true);
      await waitForConnection(signal);
      onOffline(false);
    }
    signal.throwIfAborted();
    try {
      return await attempt();
    } catch (problem) {
      signal.throwIfAborted();
      if (!isTransient(problem)) throw problem;
      if (!navigator.onLine) continue;
      failures += 1;
      if (failures === MAX_ATTEMPTS) throw problem;
      await pause(requestedPause(problem) ?? backoff(failures), signal);
    }
  }
}

/** Return the milliseconds before the next attempt: doubled each time, half of it random to spread the clients. */
function backoff(failures) {
  const delay = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** failures);
  return delay * (0.5 + Math.random() / 2);
}

/** Limits how many tasks run at once. Waiting tasks start in the order of their calls. */
export class Semaphore {
  #free;
  #waiting = [];

  constructor(limit) { this.#free = limit; }

  /** Run `work` as soon as there is room. */
  async run(work) {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next(); else this.#free += 1;
    }
  }
}
