/** Asks again and again: every few seconds while somebody looks, less often while nobody answers. */

import { pause } from '../dom.js';

const INTERVAL_MS = 10_000;
const MAX_DELAY_MS = 60_000;

export class Refresher {
  #load;
  #show;
  #fail;
  #begin;
  #wake = new AbortController();
  #failures = 0;

  /**
   * `load` asks, `begin` hears that it is being asked, `show` gets the answer; `fail` gets the problem and the moment of
   * the next try.
   */
  constructor({ load, show, fail, begin }) {
    this.#load = load;
    this.#show = show;
    this.#fail = fail;
    this.#begin = begin;
  }

  /** For ever. While the page is hidden nothing is asked. */
  async run() {
    for (;;) {
      await seen();
      this.#wake = new AbortController();
      const wait = await this.#once();
      if (!this.#wake.signal.aborted) await pause(wait, this.#wake.signal);
    }
  }

  /** At once, or once more when the answer under way has come. */
  now() { this.#wake.abort(); }

  async #once() {
    this.#begin();
    let answer;
    try {
      answer = await this.#load();
    } catch (problem) {
      return this.#failed(problem);
    }
    this.#failures = 0;
    this.#show(answer);
    return INTERVAL_MS;
  }

  #failed(problem) {
    this.#failures += 1;
    const patience = Math.min(MAX_DELAY_MS, INTERVAL_MS * 2 ** (this.#failures - 1));
    const wait = Math.max(patience, (problem.retryAfter ?? 0) * 1000);
    this.#fail(problem, new Date(Date.now() + wait));
    return wait;
  }
}

/** Resolves when the page is visible. */
async function seen() {
  while (document.hidden) await new Promise((resolve) => { document.addEventListener('visibilitychange', resolve, { once: true }); });
}
