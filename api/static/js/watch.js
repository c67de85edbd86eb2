/** Keeps unfinished assets up to date: by server-sent events where the service has them, by asking otherwise. */

import { pause } from './dom.js';

const FIRST_MS = 500;
const SLOWEST_MS = 3000;
const SSE_RETRY_MS = 10_000;
const MOVING = new Set(['uploaded', 'scanning', 'processing']);

export function isMoving(item) {
  return !item.upload && MOVING.has(item.asset.status);
}

export class Watcher {
  #api;
  #store;
  #wake = new AbortController();
  #streaming = false;

  constructor(api, store) {
    this.#api = api;
    this.#store = store;
    for (const type of ['add', 'change']) store.addEventListener(type, ({ detail }) => { if (isMoving(detail)) this.#nudge(); });
    document.addEventListener('visibilitychange', () => this.#nudge());
  }

  start() {
    this.#poll();
    this.#listen();
  }

  /** Asks at once; for the moment after something has changed here. */
  #nudge() { this.#wake.abort(); }

  async #poll() {
    for (let delay = FIRST_MS; ;) {
      await this.#sleep(delay);
      if (this.#streaming || document.hidden) { delay = SLOWEST_MS; continue; }
      const moving = this.#store.items.filter(isMoving);
      if (!moving.length) { delay = SLOWEST_MS; continue; }
      const changed = await this.#refresh(moving);
      delay = changed ? FIRST_MS : Math.min(SLOWEST_MS, delay * 1.5);
    }
  }

  /** Sleeps; a nudge ends a long sleep, but never one shorter than the first delay, so that asking stays bounded. */
  async #sleep(ms) {
    this.#wake = new AbortController();
    await pause(FIRST_MS);
    if (ms > FIRST_MS) await pause(ms - FIRST_MS, this.#wake.signal);
  }

  async #refresh(items) {
    const before = items.map((item) => item.asset.updated_at);
    await Promise.all(items.map((item) => this.refreshOne(item.asset.asset_id)));
    return items.some((item, i) => item.asset.updated_at !== before[i]);
  }

  /** Reads one asset again. A failure is left to the next turn, except that what is gone is gone. */
  async refreshOne(id) {
    try {
      this.#store.put(await this.#api.asset(id));
    } catch (problem) {
      const item = this.#store.ofAsset(id);
      if (problem.status === 404 && item) this.#store.remove(item);
    }
  }

  async #listen() {
    for (;;) {
      let ticket;
      try {
        ({ ticket } = await this.#api.ticket());
      } catch (problem) {
        if (problem.status === 404 || problem.status === 405) return; // This service has no stream: polling does it all.
        await pause(SSE_RETRY_MS);
        continue;
      }
      await this.#stream(this.#api.events(ticket));
      await pause(FIRST_MS);
    }
  }

  /** Follows one stream until it breaks. A ticket is good once, so the browser's own reconnect would be refused. */
  #stream(source) {
    return new Promise((resolve) => {
      const take = (event) => this.#take(event);
      source.onmessage = take;
      source.addEventListener('asset', take);
      source.onopen = () => { this.#streaming = true; this.#refresh(this.#store.items.filter(isMoving)); };
      source.onerror = () => {
        source.close();
        this.#streaming = false;
        pause(SSE_RETRY_MS / 2).then(resolve);
      };
    });
  }

  #take(event) {
    const said = JSON.parse(event.data);
    if (said.status && said.updated_at) this.#store.put(said);
    else if (said.asset_id) this.refreshOne(said.asset_id);
  }
}
