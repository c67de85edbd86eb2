/** Keeps unfinished assets up to date: by server-sent events where the service has them, by polling otherwise. */

import { pause } from './dom.js';

const MIN_DELAY_MS = 500;
const MAX_DELAY_MS = 3000;
const SSE_RETRY_MS = 10_000;
/** Statuses that change by themselves. */
const MOVING = new Set(['uploaded', 'scanning', 'processing']);

export function isMoving(item) {
  return !item.upload && MOVING.has(item.asset.status);
}

export class Watcher {
  #api;
  #store;
  #sleepControl = new AbortController();
  #streaming = false;

  constructor(api, store) {
    this.#api = api;
    this.#store = store;
    for (const type of ['add', 'change']) store.addEventListener(type, ({ detail }) => { if (isMoving(detail)) this.#wake(); });
    document.addEventListener('visibilitychange', () => this.#wake());
  }

  start() {
    this.#poll();
    this.#listen();
  }

  /** Poll soon: something changed on this page. */
  #wake() { this.#sleepControl.abort(); }

  async #poll() {
    for (let delay = MIN_DELAY_MS; ;) {
      await this.#sleep(delay);
      if (this.#streaming || document.hidden) { delay = MAX_DELAY_MS; continue; }
      const moving = this.#store.items.filter(isMoving);
      if (!moving.length) { delay = MAX_DELAY_MS; continue; }
      const changed = await this.#refresh(moving);
      delay = changed ? MIN_DELAY_MS : Math.min(MAX_DELAY_MS, delay * 1.5);
    }
  }

  /** Sleep. `#wake` ends a long sleep, but never before the first delay, which bounds the rate of polling. */
  async #sleep(ms) {
    this.#sleepControl = new AbortController();
    await pause(MIN_DELAY_MS);
    if (ms > MIN_DELAY_MS) await pause(ms - MIN_DELAY_MS, this.#sleepControl.signal);
  }

  async #refresh(items) {
    const before = items.map((item) => item.asset.updated_at);
    await Promise.all(items.map((item) => this.refreshAsset(item.asset.asset_id)));
    return items.some((item, i) => item.asset.updated_at !== before[i]);
  }

  /** Load one asset again. A failure is left to the next poll, except for a 404, which removes the item. */
  async refreshAsset(id) {
    try {
      this.#store.put(await this.#api.asset(id));
    } catch (problem) {
      const item = this.#store.findByAsset(id);
      if (problem.status === 404 && item) this.#store.remove(item);
    }
  }

  async #listen() {
    for (;;) {
      let ticket;
      try {
        ({ ticket } = await this.#api.ticket());
      } catch (problem) {
        if (problem.status === 404 || problem.status === 405) return; // The service has no event stream: polling does it all.
        await pause(SSE_RETRY_MS);
        continue;
      }
      await this.#stream(this.#api.events(ticket));
      await pause(MIN_DELAY_MS);
    }
  }

  /** Follow one event stream until it breaks. A ticket is valid once, so the browser's own reconnect would be refused. */
  #stream(source) {
    return new Promise((resolve) => {
      const apply = (event) => this.#apply(event);
      source.onmessage = apply;
      source.addEventListener('asset', apply);
      source.onopen = () => { this.#streaming = true; this.#refresh(this.#store.items.filter(isMoving)); };
      source.onerror = () => {
        source.close();
        this.#streaming = false;
        pause(SSE_RETRY_MS / 2).then(resolve);
      };
    });
  }

  #apply(event) {
    const message = JSON.parse(event.data);
    if (message.status && message.updated_at) this.#store.put(message);
    else if (message.asset_id) this.refreshAsset(message.asset_id);
  }
}
