/** Refreshes the view: every 10 seconds while the page is visible, less often after failures. */

import { pause } from '../dom.js';

const INTERVAL_MS = 10_000;
const MAX_DELAY_MS = 60_000;

export class Refresher {
  #load;
  #show;
  #fail;
  #begin;
  #sleepControl = new AbortController();
  #failures = 0;

  /**
   * `begin` is called before `load`, which returns a promise. `show` gets its result; `fail` gets the problem and the time of
   * the next try.
   */
  constructor({ load, show, fail, begin }) {
    this.#load = load;
    this.#show = show;
    this.#fail = fail;
    this.#begin = begin;
  }

  /** Refresh forever. While the page is hidden no request is sent. */
  async run() {
    for (;;) {
      await untilVisible();
      this.#sleepControl = new AbortController();
      const wait = await this.#refresh();
      if (!this.#sleepControl.signal.aborted) await pause(wait, this.#sleepControl.signal);
    }
  }

  /** Refresh now, or again after the request under way. */
  now() { this.#sleepControl.abort(); }

  async #refresh() {
    this.#begin();
    let response;
    try {
      response = await this.#load();
    } catch (problem) {
      return this.#handleFailure(problem);
    }
    this.#failures = 0;
    this.#show(response);
    return INTERVAL_MS;
  }

  #handleFailure(problem) {
    this.#failures += 1;
    const backoff = Math.min(MAX_DELAY_MS, INTERVAL_MS * 2 ** (this.#failures - 1));
    const wait = Math.max(backoff, (problem.retryAfter ?? 0) * 1000);
    this.#fail(problem, new Date(Date.now() + wait));
    return wait;
  }
}

/** Resolve when the page is visible. */
async function untilVisible() {
  while (document.hidden) await new Promise((resolve) => { document.addEventListener('visibilitychange', resolve, { once: true }); });
}
