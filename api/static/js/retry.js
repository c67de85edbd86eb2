/** Waiting: as long as a server asks for, between two tries, and until there is a connection again. */

import { pause } from './dom.js';

export { pause };

const TRIES = 6;
const FIRST_MS = 500;
const SLOWEST_MS = 20_000;
/** Longer than a window of the rate limits (a minute); who is told to wait longer is told so in words. */
const LONGEST_ASKED_S = 90;
const JITTER_MS = 750;
const ASKING = new Set([429, 503]);
const PASSING = new Set([0, 408, 425, 429]);

/** The pause in milliseconds that a refusal asks for, with some jitter so that not all come back at once; null when none. */
export function askedPause({ status, retryAfter }) {
  if (!ASKING.has(status) || retryAfter === null || retryAfter > LONGEST_ASKED_S) return null;
  return retryAfter * 1000 + Math.random() * JITTER_MS;
}

/** Resolves when the browser has a connection, or `signal` aborts. */
export async function connected(signal) {
  const turned = new AbortController();
  await new Promise((resolve) => {
    if (navigator.onLine || signal.aborted) { resolve(); return; }
    addEventListener('online', resolve, { signal: turned.signal });
    signal.addEventListener('abort', resolve, { signal: turned.signal });
  });
  turned.abort();
}

/**
 * What `attempt` returns, tried again with growing pauses while its `Problem` is one that passes. Without a connection
 * nothing is tried and nothing counted: `offline` hears true, then false. Throws the last problem, or the signal's reason.
 */
export async function persist(attempt, { signal, offline = () => {} }) {
  for (let failed = 0; ;) {
    if (!navigator.onLine) {
      offline(true);
      await connected(signal);
      offline(false);
    }
    signal.throwIfAborted();
    try {
      return await attempt();
    } catch (problem) {
      signal.throwIfAborted();
      if (!(PASSING.has(problem.status) || problem.status >= 500)) throw problem;
      if (!navigator.onLine) continue;
      failed += 1;
      if (failed === TRIES) throw problem;
      await pause(askedPause(problem) ?? betweenTries(failed), signal);
    }
  }
}

/** Doubles, and half of it is chance: a storage that comes back is not met by everybody at once. */
function betweenTries(failed) {
  const longest = Math.min(SLOWEST_MS, FIRST_MS * 2 ** failed);
  return longest * (0.5 + Math.random() / 2);
}

/** Lets `limit` holders in at a time, in the order of asking. */
export class Lanes {
  #free;
  #queue = [];

  constructor(limit) { this.#free = limit; }

  /** Runs `work` as soon as a lane is free. */
  async run(work) {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise((resolve) => this.#queue.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#queue.shift();
      if (next) next(); else this.#free += 1;
    }
  }
}
